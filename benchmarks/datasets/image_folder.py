"""Data sets that are folders of images, in torchvision's layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm.contrib.concurrent import thread_map

from .data_root import DataRoot, MissingFileError
from .image_files import ImageFileError, Shape, list_files, read_image
from .memory import ImageData
from .normalization import Normalization
from .register import register_dataset
from .source import ImageSource
from .streamed import StreamedData

if TYPE_CHECKING:
    from torchvision.datasets import ImageFolder


_MOST_BYTES = 16 * 2**30
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@register_dataset("image-folder")
def load_image_folder(
    root: DataRoot,
    folder: str = ".",
    size: int | None = None,
    resize: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit_train: int | None = None,
    limit_test: int | None = None,
    stream: bool = False,
) -> ImageSource:
    """Images in ``train/CLASS`` and ``test/CLASS`` (or ``val/CLASS``), read into memory as uint8.

    Args:
        root: folder with the user's files.
        folder: under the data root, with the two parts in it.
        size: side of the square that is cropped from the middle of each image; None if all have one size already.
        resize: length of the shorter side before the crop; ``size`` if None.
        mean: of each color, with pixels from 0 to 1; of the training part if None.
        std: deviation of each color.
        limit_train: number of training images to use, in equal parts of every class; all if None.
        limit_test: the same for the test part.
        stream: whether files are read again for every epoch, for data larger than memory; ``size``, ``mean`` and
            ``std`` must be given then, and training cuts parts of random size out.

    Raises:
        MissingFileError: if a folder does not exist.
        ImageFileError: if a class is empty or in one part only, or a file is no image or of another size.
        ValueError: a setting out of range, images that would not fit into memory.
    """
    shape = Shape(size, resize)
    train, test = _parts(root, folder, None, limit_train, limit_test)
    if stream:
        if size is None or mean is None or std is None:
            raise ValueError("size, mean and std must be given where images are not read into memory")
        return StreamedData(train, test, shape, Normalization.of(torch.empty(0, 3, 1, 1), mean, std))
    images = [_read_all(files, shape, part) for part, files in (("training", train), ("test", test))]
    if images[0].shape[1:] != images[1].shape[1:]:
        _refuse_sizes(train.samples[0][0], images[0][0], test.samples[0][0], images[1][0])
    return ImageData(
        images[0],
        torch.tensor(train.targets),
        images[1],
        torch.tensor(test.targets),
        normalization=Normalization.of(images[0], mean, std),
        num_classes=len(train.classes),
    )


@register_dataset("imagenet")
def load_imagenet(
    root: DataRoot,
    folder: str = ".",
    size: int = 224,
    resize: int = 256,
    limit_train: int | None = None,
    limit_test: int | None = None,
) -> StreamedData:
    """ImageNet in torchvision's layout: ``train/WNID`` and ``val/WNID``, read from the files for every epoch.

    Normalized and evaluated as torchvision's pretrained classifiers are by default; training crops parts of random
    size (Szegedy et al. 2015). Settings and errors as for ``image-folder``; the test part is ``val``.
    """
    shape = Shape(size, resize)
    train, test = _parts(root, folder, "val", limit_train, limit_test)
    return StreamedData(train, test, shape, Normalization(*_IMAGENET))


def _parts(
    root: DataRoot, folder: str, test: str | None, limit_train: int | None, limit_test: int | None
) -> tuple[ImageFolder, ImageFolder]:
    top = root.directory(folder)
    names = ("test", "val") if test is None else (test,)
    there = [name for name in names if (top / name).is_dir()]
    missing = [] if (top / "train").is_dir() else ["train"]
    missing += [] if there else [" or ".join(names)]
    if missing:
        raise MissingFileError(f"{top} must hold the folders train and {' or '.join(names)}, it lacks {missing[0]}")
    parts = (
        list_files(top / "train", limit_train, "limit_train"),
        list_files(top / there[0], limit_test, "limit_test"),
    )
    one_sided = sorted(set(parts[0].classes) ^ set(parts[1].classes))
    if one_sided:
        has = "train" if one_sided[0] in parts[0].classes else there[0]
        more = f" (and {len(one_sided) - 1} more)" if len(one_sided) > 1 else ""
        raise ImageFileError(f"{top}: the class {one_sided[0]!r}{more} is only in {has}, both parts must have the same")
    return parts


def _read_all(files: ImageFolder, shape: Shape, part: str) -> Tensor:
    """All images of a part, uint8 of shape (N, 3, H, W)."""
    paths = [path for path, _ in files.samples]
    first = read_image(paths[0], shape)
    needed = len(paths) * first.numel()
    if needed > _MOST_BYTES:
        gigabytes = f"{needed / 2**30:.0f} GiB, more than {_MOST_BYTES / 2**30:.0f}"
        raise ValueError(f"the {part} images take {gigabytes}: set stream to true, or a smaller size or limit")
    images = torch.empty(len(paths), *first.shape, dtype=torch.uint8)

    def read(number: int) -> None:
        pixels = read_image(paths[number], shape)
        if pixels.shape != first.shape:
            _refuse_sizes(paths[0], first, paths[number], pixels)
        images[number] = pixels

    thread_map(read, range(len(paths)), desc=f"reading {part} images", unit="image", leave=False, disable=None)
    return images


def _refuse_sizes(one: str, pixels: Tensor, other: str, others: Tensor) -> None:
    sizes = ["x".join(map(str, found.shape[1:])) for found in (pixels, others)]
    found = f"{other} is {sizes[1]} and {one} is {sizes[0]} (height x width)"
    raise ImageFileError(f"{found}: give size to resize them all")
