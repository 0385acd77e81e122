"""Photographs in a folder or in a tar file, by names without ending: ``PERSON/PERSON_0001``."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from PIL import Image

from ...errors import BenchmarkError

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class PhotoError(BenchmarkError, ValueError):
    """A photograph that cannot be used, or none where some should be."""


@dataclass(frozen=True)
class Photos:
    """Photographs by name.

    Attributes:
        names: ``PERSON/FILE`` without the file's ending, or ``FILE`` for one that is in no person's folder; sorted.
        places: by name the file, the first byte of the photograph in it and how many there are; -1 for a whole file.
    """

    names: tuple[str, ...]
    places: dict[str, tuple[Path, int, int]]

    def content(self, name: str) -> bytes:
        """The photograph's file."""
        path, start, size = self.places[name]
        # Opened for each, so that threads do not share a position in it.
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    def where(self, name: str) -> str:
        """What errors call it."""
        path, _, size = self.places[name]
        return str(path) if size < 0 else f"{name} in {path}"

    def read(self, name: str) -> Image.Image:
        """The picture in RGB.

        Raises:
            PhotoError: if it is no readable image.
        """
        try:
            with Image.open(BytesIO(self.content(name))) as file:
                return file.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise PhotoError(f"{self.where(name)} is no readable image ({error})") from None


def open_photos(path: Path) -> Photos:
    """The photographs in a folder and the folders in it, or in a tar file, which is read without unpacking it.

    Of the path of a tar file's member only the last folder and the file count.

    Raises:
        PhotoError: if there is neither, the tar file is compressed, there are no photographs, or two have one name but
            for the ending.
    """
    if path.is_dir():
        inside = (each for each in path.iterdir() if each.is_dir())
        found = {
            file.relative_to(path).as_posix(): (file, 0, -1) for place in (path, *inside) for file in place.iterdir()
        }
    elif path.is_file():
        try:
            # Not compressed, because only then can members be read in any order.
            with tarfile.open(path, "r:") as archive:
                found = {
                    "/".join(PurePosixPath(member.name).parts[-2:]): (path, member.offset_data, member.size)
                    for member in archive
                    if member.isfile()
                }
        except tarfile.TarError:
            raise PhotoError(f"{path} is no tar file without compression: unpack it and name the folder") from None
    else:
        raise PhotoError(f"{path} is neither a folder of photographs nor a tar file")
    names = _by_name((file for file in found if PurePosixPath(file).suffix.lower() in _ENDINGS), str(path))
    return Photos(tuple(sorted(names)), {name: found[file] for name, file in names.items()})


def _by_name(files: Iterable[str], source: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in files:
        name = PurePosixPath(file).with_suffix("").as_posix()
        if name in found:
            raise PhotoError(f"{source} holds {found[name]} and {file}, which have one name")
        found[name] = file
    if not found:
        raise PhotoError(f"{source} holds no images ({', '.join(_ENDINGS)}), in itself or in the folders in it")
    return found
