"""HRank: channels whose feature maps have a low rank are removed first."""

from __future__ import annotations

import torch

from .feature_map_base import FeatureMapCriterion
from .register import register_criterion


def rank_sums(feature_map: torch.Tensor) -> torch.Tensor:
    """Rank of each channel's map, summed over images, at torch's default tolerance.

    Args:
        feature_map: (N, C, H, W), or (N, C) vectors, whose elements count as 1x1 maps: rank 1 unless zero.

    Returns:
        Float64 of shape (C,): sums, so that batches add up.

    Raises:
        ValueError: if the shape is another or a value is not finite.
    """
    if feature_map.dim() not in (2, 4):
        raise ValueError(f"ranks need maps (N, C, H, W) or vectors (N, C), got shape {tuple(feature_map.shape)}")
    if not feature_map.isfinite().all():
        raise ValueError("its feature maps hold NaN or Inf, which have no rank")
    if feature_map.dim() == 2:
        return (feature_map != 0).double().sum(0)
    return torch.linalg.matrix_rank(feature_map.float()).double().sum(0)


@register_criterion("hrank", needs_context=True)
class HRank(FeatureMapCriterion):
    """Mean rank of the feature maps over calibration images (HRank; Lin et al., CVPR 2020).

    From 0 to min(H, W). Maps are taken where the paper's code takes them, after convolution, BN and ReLU and before
    any pooling; at a residual sum the paper's code takes the map after the sum, and this one before it. Arguments and
    errors are those of :class:`FeatureMapCriterion`.
    """

    def keep(self, feature_map: torch.Tensor) -> tuple[torch.Tensor, int]:
        """The sums of ranks and how many images they run over."""
        return rank_sums(feature_map), len(feature_map)

    def score(self, kept: list[tuple[torch.Tensor, int]]) -> torch.Tensor:
        """Mean ranks."""
        total = torch.stack([sums for sums, _ in kept]).sum(0)
        return total / sum(images for _, images in kept)
