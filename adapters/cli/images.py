"""From ``--data`` to calibration batches: a folder of images, or an array in an .npz file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .errors import CommandError
from .preprocessing import Preprocessing

__all__ = ["SUFFIXES", "calibration_loader", "find_images", "spread"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".jp2")

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_MOST = 65535


def calibration_loader(
    data: Path, count: int, batch_size: int, preprocessing: Preprocessing, array: str | None = None
) -> tuple[DataLoader[Tensor], str]:
    """A loader of calibration batches; it reads the images on demand, and always the same ones.

    Args:
        data: a folder, searched with its subfolders, or an .npz file with uint8 images (N, H, W, 3), (N, H, W, 1)
            or (N, H, W), or floating-point inputs of the model (N, C, H, W).
        count: most images, evenly spread over all that are found.
        batch_size: most images per batch; batch sizes differ by at most one image.
        preprocessing: for images. Arrays keep their size unless a size is explicit; floating-point inputs are used
            unchanged.
        array: the array's name in the file; None for ``images`` or the only one.

    Returns:
        The loader, whose batches are (N, C, H, W) float32, and one line that describes what is read, and how.

    Raises:
        CommandError: no such path, no images in it, or an array of another form. The loader also raises it, for a
            file that is no image or damaged.
    """
    if not data.exists():
        raise CommandError(f"there is no {str(data)!r} to read calibration images from")
    if data.is_dir():
        if array is not None:
            raise CommandError(f"--array names an array in an .npz file, and {str(data)!r} is a folder")
        paths = find_images(data)
        images = [paths[place] for place in spread(len(paths), count)]
        channels = preprocessing.channels or 3
        dataset: Dataset[Tensor] = _Files(images, channels, preprocessing.transform(channels))
        how, total = str(preprocessing), len(paths)
    elif data.suffix.lower() == ".npz":
        values = _read_array(data, array)
        total = len(values)
        places = spread(total, count)
        if values.dtype == np.uint8:
            own_size = preprocessing.without_defaults()
            channels = preprocessing.channels or values.shape[-1]
            dataset, how = _Arrays(values, places, own_size.transform(channels), channels), str(own_size)
        elif preprocessing.explicit:
            options = ", ".join(f"--{name}" for name in preprocessing.explicit)
            raise CommandError(f"{str(data)!r} has floating-point inputs, which are used unchanged: omit {options}")
        else:
            dataset, how = _Arrays(values, places, None), "unchanged"
    else:
        raise CommandError(f"--data must be a folder of images or an .npz file, got {str(data)!r}")
    number = min(count, total)
    batches = [part.tolist() for part in np.array_split(np.arange(number), -(-number // batch_size))]
    return DataLoader(dataset, batch_sampler=batches), f"{number} of {total} in {data}, {how}"


def find_images(folder: Path) -> list[Path]:
    """All image files in a folder and its subfolders, sorted; hidden ones are ignored.

    Raises:
        CommandError: there is none.
    """
    found, entered = [], set()
    for here, folders, files in os.walk(folder, followlinks=True):
        # Links may lead to a parent folder.
        real = os.path.realpath(here)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if real not in entered else []
        if real not in entered:
            found += [Path(here, name) for name in files if not name.startswith(".")]
        entered.add(real)
    images = [path for path in found if path.suffix.lower() in SUFFIXES]
    if not images:
        other = f", among {len(found)} files" if found else ""
        raise CommandError(f"there are no images in {str(folder)!r}{other} (looked for {', '.join(SUFFIXES)})")
    return sorted(images, key=lambda path: path.relative_to(folder).parts)


def spread(total: int, count: int) -> list[int]:
    """``count`` of ``total`` indices at even distances, or all if there are no more."""
    number = min(total, count)
    return [place * total // number for place in range(number)]


class _Files(Dataset[Tensor]):
    def __init__(self, paths: Sequence[Path], channels: int, transform: Callable[[Any], Tensor]) -> None:
        self._paths = paths
        self._mode = _MODES[channels]
        self._transform = transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, place: int) -> Tensor:
        from PIL import Image

        path = self._paths[place]
        try:
            with Image.open(path) as image:
                mode = image.mode
                picture = _eight_bits(image) if mode.startswith("I") else image
                # Gray alone drops the colors of a palette's transparency.
                colors = (picture.convert("RGBA") if mode == "P" else picture).convert(self._mode)
        # Decoders raise many types of errors; the user needs the name of the file.
        except Exception as error:
            raise CommandError(f"{str(path)!r} cannot be read as an image: {error}") from error
        if mode.startswith("F"):
            raise CommandError(f"{str(path)!r} has pixels of floats; give such images as an .npz array of floats")
        return self._transform(colors)


class _Arrays(Dataset[Tensor]):
    def __init__(
        self, values: Any, places: Sequence[int], transform: Callable[[Any], Tensor] | None, channels: int = 0
    ) -> None:
        self._values = values
        self._mode = _MODES.get(channels)
        self._places = places
        self._transform = transform

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: int) -> Tensor:
        values = torch.from_numpy(np.array(self._values[self._places[place]]))
        if self._transform is None:
            return values
        if self._mode is None or len(self._mode) == values.shape[-1]:
            return self._transform(values.permute(2, 0, 1))
        from PIL import Image

        return self._transform(Image.fromarray(values.squeeze(-1).numpy()).convert(self._mode))


def _eight_bits(image: Any) -> Any:
    """A gray image of 16 bits as one of 8."""
    from PIL import Image

    pixels = np.asarray(image)
    if pixels.min() < 0 or pixels.max() > _MOST:
        raise ValueError("more than 16 bits a pixel: give such images as an .npz array of floats")
    return Image.fromarray((pixels / _MOST * 255).round().astype(np.uint8))


def _read_array(path: Path, name: str | None) -> Any:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = list(arrays)
            wanted = name or ("images" if "images" in names or len(names) != 1 else names[0])
            if wanted not in names:
                there = ", ".join(map(repr, names)) or "nothing"
                raise CommandError(f"{str(path)!r} has no array {wanted!r}; it has {there}: choose one with --array")
            values = arrays[wanted]
    except (OSError, ValueError, BadZipFile) as error:
        raise CommandError(f"{str(path)!r} cannot be read: {error}") from error
    if values.dtype == np.uint8 and values.ndim == 3:
        values = values[..., None]
    images = values.dtype == np.uint8 and values.ndim == 4 and values.shape[-1] in (1, 3)
    inputs = np.issubdtype(values.dtype, np.floating) and values.ndim >= 2
    if not (images or inputs) or 0 in values.shape:
        raise CommandError(
            f"{str(path)!r}: {wanted!r} must be uint8 images of shape (N, H, W, 3) or (N, H, W, 1), or floating-point "
            f"inputs (N, C, H, W); it is {values.dtype} of shape {values.shape}"
        )
    return values if images else values.astype(np.float32, copy=False)
