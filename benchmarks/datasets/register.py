"""From a dataset's name and settings to its images."""

from __future__ import annotations

from ..registry.registry import Registry, Spec
from .data_root import DataRoot
from .source import ImageSource

DATASETS: Registry[ImageSource] = Registry("dataset", given=1, product=ImageSource)

register_dataset = DATASETS.register
"""Decorator ``@register_dataset("name")`` for a loader ``(data_root, **settings) -> ImageSource``."""


def load_dataset(spec: Spec, root: DataRoot | None = None) -> ImageSource:
    """Load what ``spec`` names.

    Args:
        spec: name and settings.
        root: folder with the user's files, for data that does not come with a package.

    Raises:
        UnknownNameError: if no dataset has that name.
        MissingFileError: if its file does not exist.
        SettingsError: if the settings do not fit it, or the file does not hold it.
    """
    return DATASETS.make(spec, root or DataRoot())
