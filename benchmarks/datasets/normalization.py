"""From pixels to what a network reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalization:
    """Shift and scale of each channel; pixels of type uint8 are divided by 255 first.

    Attributes:
        mean: one value a channel, in units of the divided pixels.
        deviation: of each channel, above 0.

    Raises:
        ValueError: if the two differ in length, or a deviation is not above 0.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.deviation) or not all(value > 0 for value in self.deviation):
            values = f"{list(self.mean)} and {list(self.deviation)}"
            raise ValueError(f"mean and std must hold one number a channel, std above 0, got {values}")

    @classmethod
    def of(
        cls, images: Tensor, mean: Sequence[float] | None = None, deviation: Sequence[float] | None = None
    ) -> Normalization:
        """What is given; what is not is measured on these images (N, C, H, W), float or uint8.

        Raises:
            ValueError: if the numbers are not one for each channel, or a channel is constant.
        """
        channels = images.shape[1]
        for name, values in (("mean", mean), ("std", deviation)):
            if values is not None and not _are_numbers(values, channels):
                raise ValueError(f"{name} must hold {channels} numbers, one a channel, got {values!r}")
        if mean is None or deviation is None:
            measured = _measure(images)
            mean, deviation = mean or measured[0], deviation or measured[1]
        return cls(tuple(map(float, mean)), tuple(map(float, deviation)))

    def apply(self, images: Tensor) -> Tensor:
        """A new float tensor (N, C, H, W); float images keep their type, uint8 become float32."""
        floats = images.float().div_(255) if images.dtype == torch.uint8 else images.clone()
        mean, deviation = (_column(values, floats.dtype, floats.device) for values in (self.mean, self.deviation))
        return floats.sub_(mean).div_(deviation)

    def tensors(self) -> dict[str, Tensor]:
        """Mean and deviation by name, for hashes."""
        return {
            "mean": torch.tensor(self.mean, dtype=torch.float64),
            "deviation": torch.tensor(self.deviation, dtype=torch.float64),
        }


@lru_cache(maxsize=16)
def _column(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept, because a copy to the device for every batch would wait for its queue.
    return torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1)


def _are_numbers(values: object, count: int) -> bool:
    if not isinstance(values, (list, tuple)) or len(values) != count:
        return False
    return all(isinstance(value, (int, float)) for value in values)


def _measure(images: Tensor) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, summed in float64, some hundred images at a time."""
    scale = 255 if images.dtype == torch.uint8 else 1
    count = images.numel() // images.shape[1]
    total = torch.zeros(images.shape[1], dtype=torch.float64)
    squares = total.clone()
    for chunk in images.split(512):
        pixels = chunk.double() / scale
        total += pixels.sum((0, 2, 3))
        squares += pixels.square().sum((0, 2, 3))
    mean = total / count
    deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
    return mean.tolist(), deviation.tolist()
