"""Data sets of faces: LFW alone, and a folder of faces to learn from beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from tqdm.contrib.concurrent import thread_map

from ..data_root import DataRoot, MissingFileError
from ..memory import ImageData
from ..normalization import Normalization
from ..register import register_dataset
from .alignment import Alignment, CenterCrop, NoAlignment
from .landmarks import LandmarkCrop, read_landmarks
from .leakage import Subset, check_no_leakage, drop_duplicates, training_photos
from .pairs_dataset import FacePairs
from .people import People, people_of
from .photos import PhotoError, Photos, open_photos
from .view2 import View2, read_pairs

Align = Literal["centre", "landmarks", "none"]

# (pixel - 127.5) / 128, in the words of a normalization that divides by 255 first.
NORMALIZATION = Normalization((0.5,) * 3, (128 / 255,) * 3)


@register_dataset("lfw")
def load_lfw(
    root: DataRoot,
    images: str = "lfw-py/lfw-deepfunneled",
    pairs: str = "lfw-py/pairs.txt",
    subset: Subset = "unpaired",
    align: Align = "centre",
    landmarks: str | None = None,
    size: Sequence[int] = (112, 96),
    flip: bool = True,
    limit_pairs: int | None = None,
) -> FacePairs:
    """LFW: evaluated on view 2, trained on photographs in no pair, without labels.

    Args:
        root: folder with the user's files; torchvision's layout by default.
        images: under the data root, a folder ``NAME/NAME_0001.jpg`` or a tar file of it.
        pairs: the file of view 2.
        subset: the training images: photographs in no pair (``"unpaired"``, 5,532, of which 3,983 show people who are
            in pairs on other photographs), or of people who are in no pair (``"disjoint"``, the others).
        align: how faces are cut out: ``"centre"`` for deep-funneled photographs of 250 x 250, ``"landmarks"`` by a file
            of five points, ``"none"`` if they are cropped already.
        landmarks: the file, for ``"landmarks"``.
        size: height and width of the faces.
        flip: whether embeddings are of a face and its mirror image.
        limit_pairs: number of pairs of each kind in each fold, to try things out; all if None.

    Raises:
        MissingFileError: if a file or folder does not exist.
        BenchmarkError: if photographs, pairs or landmarks cannot be used.
        ValueError: a setting out of range.
    """
    alignment = _alignment(root, align, landmarks, size)
    view = read_pairs(root.file(pairs))
    photos = _photos(root, images)
    view.check(photos.names, pairs)
    learned = training_photos(photos.names, view, subset)
    if limit_pairs is not None:
        view = view.limited(limit_pairs)
    tested = read_faces(photos, view.images, alignment, "faces of the pairs")
    faces = read_faces(photos, learned, alignment, "faces to learn from")
    kept = drop_duplicates(faces, tested)
    people = people_of([learned[number] for number in kept], "none")
    return _pairs(faces[kept], people, tested, view, flip)


@register_dataset("faces-lfw")
def load_faces_and_lfw(
    root: DataRoot,
    train: str = "faces",
    identities: bool = True,
    fewest: int = 2,
    train_align: Align = "none",
    train_landmarks: str | None = None,
    images: str = "lfw-py/lfw-deepfunneled",
    pairs: str = "lfw-py/pairs.txt",
    align: Align = "centre",
    landmarks: str | None = None,
    size: Sequence[int] = (112, 96),
    flip: bool = True,
) -> FacePairs:
    """Any folder of faces for training, such as CASIA-WebFace, evaluated on view 2 of LFW.

    Args:
        root: folder with the user's files.
        train: under the data root, a folder or tar file: ``PERSON/*.jpg`` (identity per folder), or faces in any
            folders.
        identities: whether folders are people; without, faces have no labels, as distillation needs none.
        fewest: smallest number of faces of a person.
        train_align: as ``align``, for these.
        train_landmarks: as ``landmarks``, for these.
        images: LFW, as for ``lfw``, as are the settings that follow.
        pairs: the file of view 2.
        align: how faces are cut out of LFW's photographs.
        landmarks: a file of five points.
        size: height and width of the faces.
        flip: whether embeddings are of a face and its mirror image.

    Raises:
        BenchmarkError: a person has too few faces, or photographs of the pairs are among the training images; other
            errors as for ``lfw``.
    """
    alignments = [_alignment(root, *how, size) for how in ((train_align, train_landmarks), (align, landmarks))]
    view = read_pairs(root.file(pairs))
    photos, learned = _photos(root, images), _photos(root, train)
    view.check(photos.names, pairs)
    check_no_leakage(learned.names, view, train)
    people = people_of(learned.names, "folders" if identities else "none", fewest)
    tested = read_faces(photos, view.images, alignments[1], "faces of the pairs")
    faces = read_faces(learned, learned.names, alignments[0], "faces to learn from")
    return _pairs(faces, people, tested, view, flip)


def _pairs(faces: torch.Tensor, people: People, tested: torch.Tensor, view: View2, flip: bool) -> FacePairs:
    nobody = torch.zeros(len(tested), dtype=torch.int64)
    images = ImageData(
        faces, people.labels, tested, nobody, normalization=NORMALIZATION, num_classes=max(1, len(people.names))
    )
    return FacePairs(images, view, flip=flip)


def _photos(root: DataRoot, name: str) -> Photos:
    path = root.path(name)
    if not path.exists():
        raise MissingFileError(f"there are no photographs at {str(path)!r}, which this suite reads")
    return open_photos(path)


def _alignment(root: DataRoot, align: Align, landmarks: str | None, size: Sequence[int]) -> Alignment:
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size: height and width, at least 1, got {list(size)}")
    if (landmarks is not None) != (align == "landmarks"):
        raise ValueError(f"landmarks: a file with align 'landmarks' and only then, got {landmarks!r} with {align!r}")
    height, width = size
    if landmarks is not None:
        return LandmarkCrop((height, width), read_landmarks(root.file(landmarks)))
    kinds: dict[str, type[Alignment]] = {"centre": CenterCrop, "none": NoAlignment}
    if align not in kinds:
        raise ValueError(f"align: 'centre', 'landmarks' or 'none', got {align!r}")
    return kinds[align]((height, width))


_MOST_BYTES = 24 * 2**30


def read_faces(photos: Photos, names: Sequence[str], alignment: Alignment, what: str) -> Tensor:
    """Cut out the faces of these photographs.

    Args:
        photos: where they are.
        names: of ``photos.names``.
        alignment: how.
        what: what the progress bar calls them.

    Returns:
        uint8 of shape (N, 3, H, W).

    Raises:
        PhotoError: if one cannot be read or cropped, or all together would not fit into memory; names it.
    """
    height, width = alignment.size
    needed = len(names) * 3 * height * width
    if needed > _MOST_BYTES:
        raise PhotoError(f"{len(names)} faces take {needed / 2**30:.0f} GiB, more than {_MOST_BYTES / 2**30:.0f}")
    faces = torch.empty(len(names), 3, height, width, dtype=torch.uint8)

    def read(number: int) -> None:
        photo = photos.read(names[number])
        try:
            faces[number] = alignment(photo, names[number])
        except PhotoError as error:
            raise PhotoError(f"{photos.where(names[number])}: {error}") from None

    thread_map(read, range(len(names)), desc=f"reading {what}", unit="face", leave=False, disable=None)
    return faces
