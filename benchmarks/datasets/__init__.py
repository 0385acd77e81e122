"""Data a suite can name."""

from .cifar import load_cifar10, load_cifar100
from .cifar_npz import load_cifar10_npz
from .digits import load_digits
from .faces.lfw import load_faces_and_lfw, load_lfw
from .faces.pairs_dataset import FacePairs
from .image_files import ImageFileError
from .image_folder import load_image_folder, load_imagenet
from .memory import ImageData
from .normalization import Normalization
from .npz import load_npz
from .register import DATASETS, load_dataset, register_dataset
from .source import Batch, ImageSource
from .streamed import StreamedData

__all__ = [
    "DATASETS",
    "Batch",
    "FacePairs",
    "ImageData",
    "ImageFileError",
    "ImageSource",
    "Normalization",
    "StreamedData",
    "load_cifar10",
    "load_cifar10_npz",
    "load_cifar100",
    "load_dataset",
    "load_digits",
    "load_faces_and_lfw",
    "load_image_folder",
    "load_imagenet",
    "load_lfw",
    "load_npz",
    "register_dataset",
]
