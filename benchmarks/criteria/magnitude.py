"""L1: small filters go first."""

from __future__ import annotations

import torch_pruning as tp
from torch import nn

from .build import CriterionContext, Scorer, register_criterion

__all__ = ["l1"]


@register_criterion("l1")
def l1(context: CriterionContext) -> Scorer:
    """L1-norm of the producing filters (Li et al., ICLR 2017), computed by Torch-Pruning.

    Torch-Pruning's default adds the norms of BN scales and of the readers' kernels and divides by the mean.
    The paper ranks a layer's filters by their own L1-norm and nothing else, which is
    ``group_reduction="first"``, no normaliser and only convolutions and Linear layers as targets.
    """
    return tp.importance.MagnitudeImportance(
        p=1,
        group_reduction="first",
        normalizer=None,
        target_types=[nn.modules.conv._ConvNd, nn.Linear],
    )
