"""Photographs in a folder or in a tar file, by names without ending: ``PERSON/PERSON_0001``."""

from __future__ import annotations

import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path, PurePosixPath

from PIL import Image

from ...errors import BenchmarkError

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class PhotoError(BenchmarkError, ValueError):
    """A photograph that cannot be used, or none where some should be."""


class Photos(ABC):
    """Photographs by name.

    Attributes:
        names: ``PERSON/FILE`` without the file's ending, or ``FILE`` for one that is in no person's folder; sorted.
    """

    names: tuple[str, ...]

    @abstractmethod
    def content(self, name: str) -> bytes:
        """The file of that name."""

    @abstractmethod
    def where(self, name: str) -> str:
        """What errors call it."""

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


class PhotosInFolder(Photos):
    """Image files in a folder and in the folders in it.

    Raises:
        PhotoError: if there are none, or two have one name but for the ending.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        inside = (path for path in folder.iterdir() if path.is_dir())
        files = [file for place in (folder, *inside) for file in place.iterdir() if file.suffix.lower() in _ENDINGS]
        self._files = _by_name((file.relative_to(folder).as_posix() for file in files), str(folder))
        self.names = tuple(sorted(self._files))

    def content(self, name: str) -> bytes:
        """The file of that name."""
        return (self._folder / self._files[name]).read_bytes()

    def where(self, name: str) -> str:
        """Its path."""
        return str(self._folder / self._files[name])


class PhotosInTar(Photos):
    """Image files in a tar file that is not compressed, read without unpacking it.

    Of a member's path only the last folder and the file count.

    Raises:
        PhotoError: if it is no such file, holds no images, or two have one name but for the ending.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # Not compressed, because only then can members be read in any order.
            with tarfile.open(path, "r:") as archive:
                members = {
                    "/".join(PurePosixPath(member.name).parts[-2:]): (member.offset_data, member.size)
                    for member in archive
                    if member.isfile() and PurePosixPath(member.name).suffix.lower() in _ENDINGS
                }
        except tarfile.TarError:
            raise PhotoError(f"{path} is no tar file without compression: unpack it and name the folder") from None
        self._members = {name: members[file] for name, file in _by_name(members, str(path)).items()}
        self.names = tuple(sorted(self._members))

    def content(self, name: str) -> bytes:
        """The member of that name."""
        start, size = self._members[name]
        # Opened for each, so that threads do not share a place in it.
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    def where(self, name: str) -> str:
        """Archive and member."""
        return f"{name} in {self._path}"


def open_photos(path: Path) -> Photos:
    """The photographs in a folder or tar file.

    Raises:
        PhotoError: if there is neither, or no photographs are in it.
    """
    if path.is_dir():
        return PhotosInFolder(path)
    if path.is_file():
        return PhotosInTar(path)
    raise PhotoError(f"{path} is neither a folder of photographs nor a tar file")


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
