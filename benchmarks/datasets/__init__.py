"""Data a suite can name."""

from .cifar10 import load_cifar10_npz
from .digits import load_digits
from .face_pairs import FacePairs
from .faces import load_faces_and_lfw, load_lfw
from .image_files import ImageFileError
from .image_folder import load_image_folder, load_imagenet
from .load import DATASETS, calibration_images, load_dataset, register_dataset
from .memory import ImageData
from .normalisation import Normalisation
from .npz import load_npz
from .source import Batch, ImageSource
from .streamed import StreamedData
from .torchvision_cifar import load_cifar10, load_cifar100

__all__ = [
    "DATASETS",
    "Batch",
    "FacePairs",
    "ImageData",
    "ImageFileError",
    "ImageSource",
    "Normalisation",
    "StreamedData",
    "calibration_images",
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
