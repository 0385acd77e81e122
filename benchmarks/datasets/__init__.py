"""Data a suite can name."""

from .cifar10 import load_cifar10_npz
from .digits import load_digits
from .load import DATASETS, calibration_images, load_dataset, register_dataset
from .memory import ImageData
from .normalisation import Normalisation
from .source import Batch, ImageSource

__all__ = [
    "DATASETS",
    "Batch",
    "ImageData",
    "ImageSource",
    "Normalisation",
    "calibration_images",
    "load_cifar10_npz",
    "load_dataset",
    "load_digits",
    "register_dataset",
]
