"""Resizing, cropping and normalizing of calibration images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .errors import CommandError, UsageError
from .models import torchvision_models

__all__ = ["Preprocessing", "preprocessing_for"]

Size = tuple[int, ...]
"""One number for the shorter side, or height and width."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop the center, scale to [0, 1], normalize. The defaults are torchvision's for ImageNet.

    Attributes:
        resize: the shorter side, or height and width, before the crop; None for no resizing.
        crop: height and width of the crop; None for no crop.
        mean: subtracted, one value per channel or one for all.
        std: divisor, one value per channel or one for all.
        interpolation: a value of torchvision's ``InterpolationMode``.
        explicit: the options that the user gave.
        channels: of the images, 1 to 4 (gray, gray and alpha, RGB, RGBA); None for RGB, and for those of arrays.
    """

    resize: Size | None = (256,)
    crop: Size | None = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    explicit: tuple[str, ...] = ()
    channels: int | None = None

    def changed(
        self,
        size: Size | None = None,
        resize: Size | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> Preprocessing:
        """A copy with the options of the user.

        Args:
            size: of the crop; one number for a square. Without ``resize`` the shorter side becomes its longer one, so
                that the crop of a square image is the whole image.
            resize: before the crop.
            mean: one value, or one per channel.
            std: one value, or one per channel.

        Raises:
            UsageError: an image resized to less than the crop.
        """
        options = {"size": size, "resize": resize, "mean": mean, "std": std}
        new = replace(self, explicit=tuple(name for name, value in options.items() if value is not None))
        if size is not None:
            crop = size if len(size) == 2 else size * 2
            new = replace(new, crop=crop, resize=(max(crop),))
        if resize is not None:
            new = replace(new, resize=resize)
        if new.resize and new.crop and any(side < want for side, want in zip(new.resize * 2, new.crop, strict=False)):
            raise UsageError(f"--resize {_size(new.resize)} is less than the crop {_size(new.crop)}")
        return replace(new, mean=tuple(mean or self.mean), std=tuple(std or self.std))

    def without_defaults(self) -> Preprocessing:
        """A copy that resizes and crops only if the user gave a size."""
        return self if {"size", "resize"} & set(self.explicit) else replace(self, resize=None, crop=None)

    def transform(self, channels: int) -> Callable[[Any], Tensor]:
        """From an image (a PIL image, or a uint8 tensor (C, H, W)) to the model's input, float32 (C, H, W).

        Raises:
            CommandError: means or deviations for another number of channels.
        """
        from torchvision.transforms import InterpolationMode, v2

        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels) and name in self.explicit:
                raise CommandError(
                    f"the images have {channels} channels: give --{name} one value or {channels} "
                    f"(--{name} has {len(values)} values)"
                )
        steps: list[Any] = [v2.ToImage()]
        if self.resize is not None:
            steps.insert(0, v2.Resize(list(self.resize), InterpolationMode(self.interpolation), antialias=True))
        if self.crop is not None:
            steps.append(v2.CenterCrop(list(self.crop)))
        steps += [v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()]
        mean, std = _fitted(self.mean, channels, alpha=0.0), _fitted(self.std, channels, alpha=1.0)
        steps.append(v2.Normalize(mean, std))
        composed: Callable[[Any], Tensor] = v2.Compose(steps)
        return composed

    def __str__(self) -> str:
        parts = []
        if self.resize is not None:
            side = "shorter side" if len(self.resize) == 1 else "size"
            parts.append(f"{side} to {_size(self.resize)} ({self.interpolation})")
        if self.crop is not None:
            parts.append(f"center crop {_size(self.crop)}")
        mean, std = (
            " ".join(f"{value:.3g}" for value in _fitted(values, self.channels or len(values), alpha=alpha))
            for values, alpha in ((self.mean, 0.0), (self.std, 1.0))
        )
        return ", ".join([*parts, f"mean {mean}, std {std}"])


def preprocessing_for(name: str | None, weights: Any = None) -> Preprocessing:
    """The preprocessing that torchvision has for one of its models; the default for other models.

    Args:
        name: the torchvision model's name; None for other models.
        weights: the member of its weights enum; None for the default one.

    Raises:
        CommandError: the model's input is no batch of images.
    """
    if name is None:
        return Preprocessing()
    member = weights if weights is not None else _default_weights(name)
    if member is None:
        return Preprocessing()
    transforms = member.transforms()
    kind = type(transforms).__name__
    if kind not in ("ImageClassification", "SemanticSegmentation"):
        raise CommandError(
            f"torchvision's {name} does not take batches of images ({kind}): prune it from Python, with forward_fn"
        )
    resize = tuple(transforms.resize_size)
    crop = tuple(getattr(transforms, "crop_size", resize))
    return Preprocessing(
        resize=resize,
        crop=crop if len(crop) == 2 else crop * 2,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
    )


def _fitted(values: tuple[float, ...], channels: int, *, alpha: float) -> list[float]:
    """Values for RGB as those for another number of channels; alpha is not normalized."""
    if len(values) in (1, channels):
        return list(values)
    colors = list(values) if channels > 2 else [sum(values) / len(values)]
    return [*colors, alpha][:channels]


def _default_weights(name: str) -> Any:
    try:
        return torchvision_models().get_model_weights(name).DEFAULT
    except (AttributeError, ValueError):
        return None


def _size(size: Size) -> str:
    return "x".join(map(str, size))
