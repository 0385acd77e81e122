"""What is done to an image before the model sees it."""

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
    """Resize, crop the centre, scale to [0, 1], normalize. The defaults are torchvision's for ImageNet.

    Attributes:
        resize: the shorter side, or height and width, before the crop; None leaves the size.
        crop: height and width of the crop; None leaves all of it.
        mean: subtracted, one value a channel or one for all.
        std: divided by, likewise.
        interpolation: how to resize, in torchvision's words.
        asked: the options that the user gave.
    """

    resize: Size | None = (256,)
    crop: Size | None = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    asked: tuple[str, ...] = ()

    def changed(
        self,
        size: Size | None = None,
        resize: Size | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> Preprocessing:
        """With what the user asked for.

        Args:
            size: of the crop; one number for a square. Without ``resize`` the shorter side becomes its longer one, so
                that the crop is the whole of a square image.
            resize: before the crop.
            mean: one value, or one a channel.
            std: likewise.

        Raises:
            UsageError: an image resized to less than the crop.
        """
        options = {"size": size, "resize": resize, "mean": mean, "std": std}
        new = replace(self, asked=tuple(name for name, value in options.items() if value is not None))
        if size is not None:
            crop = size if len(size) == 2 else size * 2
            new = replace(new, crop=crop, resize=(max(crop),))
        if resize is not None:
            new = replace(new, resize=resize)
        if new.resize and new.crop and any(side < want for side, want in zip(new.resize * 2, new.crop, strict=False)):
            raise UsageError(
                f"--resize {_size(new.resize)} is less than the size {_size(new.crop)} that is cut out of it"
            )
        return replace(new, mean=tuple(mean or self.mean), std=tuple(std or self.std))

    def without_defaults(self) -> Preprocessing:
        """For images that have their size already: resized and cropped only if the user asked for it."""
        return self if {"size", "resize"} & set(self.asked) else replace(self, resize=None, crop=None)

    def transform(self, channels: int) -> Callable[[Any], Tensor]:
        """From an image (a PIL image, or a uint8 tensor (C, H, W)) to the model's input, float32 (C, H, W).

        Raises:
            CommandError: means or deviations for another number of channels.
        """
        from torchvision.transforms import InterpolationMode, v2

        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                given = f"--{name} has {len(values)} values" if name in self.asked else f"the default has {len(values)}"
                raise CommandError(
                    f"the images have {channels} channels: give --{name} one value, or as many ({given})"
                )
        steps: list[Any] = [v2.ToImage()]
        if self.resize is not None:
            steps.insert(0, v2.Resize(list(self.resize), InterpolationMode(self.interpolation), antialias=True))
        if self.crop is not None:
            steps.append(v2.CenterCrop(list(self.crop)))
        steps += [v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()]
        steps.append(v2.Normalize(list(self.mean), list(self.std)))
        composed: Callable[[Any], Tensor] = v2.Compose(steps)
        return composed

    def __str__(self) -> str:
        parts = []
        if self.resize is not None:
            side = "shorter side" if len(self.resize) == 1 else "size"
            parts.append(f"{side} to {_size(self.resize)} ({self.interpolation})")
        if self.crop is not None:
            parts.append(f"centre {_size(self.crop)}")
        mean, std = (" ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return ", ".join([*parts, f"mean {mean}, std {std}"])


def preprocessing_for(name: str | None, weights: Any = None) -> Preprocessing:
    """What torchvision does before one of its models; for other models, and where it says nothing, the default.

    Args:
        name: the torchvision model's name; None for a user's own.
        weights: the member of its weights enum that is used; None for its default one.

    Raises:
        CommandError: the model takes no batches of images.
    """
    if name is None:
        return Preprocessing()
    member = weights if weights is not None else _default_weights(name)
    if member is None:
        return Preprocessing()
    does = member.transforms()
    kind = type(does).__name__
    if kind not in ("ImageClassification", "SemanticSegmentation"):
        raise CommandError(
            f"torchvision's {name} does not take batches of images ({kind}): prune it from Python, with forward_fn"
        )
    resize = tuple(does.resize_size)
    crop = tuple(getattr(does, "crop_size", resize))
    return Preprocessing(
        resize=resize,
        crop=crop if len(crop) == 2 else crop * 2,
        mean=tuple(does.mean),
        std=tuple(does.std),
        interpolation=does.interpolation.value,
    )


def _default_weights(name: str) -> Any:
    try:
        return torchvision_models().get_model_weights(name).DEFAULT
    except (AttributeError, ValueError):
        return None


def _size(size: Size) -> str:
    return "x".join(map(str, size))
