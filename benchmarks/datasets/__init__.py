"""Data a suite can name."""

from .digits import load_digits
from .load import DATASETS, ImageData, calibration_images, load_dataset, register_dataset

__all__ = ["DATASETS", "ImageData", "calibration_images", "load_dataset", "load_digits", "register_dataset"]
