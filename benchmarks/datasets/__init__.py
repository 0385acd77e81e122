"""Data a suite can name."""

from .cifar10 import load_cifar10_npz
from .digits import load_digits
from .load import DATASETS, ImageData, calibration_images, calibration_part, load_dataset, register_dataset

__all__ = [
    "DATASETS",
    "ImageData",
    "calibration_images",
    "calibration_part",
    "load_cifar10_npz",
    "load_dataset",
    "load_digits",
    "register_dataset",
]
