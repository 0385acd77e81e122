"""What a run hands to its criterion."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["CriterionContext"]


@dataclass(frozen=True)
class CriterionContext:
    """What a run hands to its criterion.

    Attributes:
        images: calibration images (N, C, H, W), the same for every criterion of a seed.
        seed: of the run, for criteria that draw numbers.
        labels: classes of the images, int64 (N,), or None. Only a criterion that says so in its docstring may use them.

    Raises:
        ValueError: if there are labels and they are not one integer for each image.
    """

    images: torch.Tensor
    seed: int
    labels: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.labels is None:
            return
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels: int64, one for each of the {len(self.images)} images, got {self.labels.dtype} of shape "
                f"{tuple(self.labels.shape)}"
            )
