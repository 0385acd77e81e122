"""BN scale: channels with a small scale in batch normalization are removed first."""

from __future__ import annotations

import torch
from torch import nn

from .groups import group_score
from .register import CriterionContext, Scorer, register_criterion


@register_criterion("bn-scale", needs_context=True)
def bn_scale(context: CriterionContext) -> Scorer:
    """Absolute scale of batch normalization (Network Slimming; Liu et al., ICCV 2017).

    The paper trains with an L1 penalty on the scales; here the network's own scales are used. Where several BN layers
    normalize a channel (a residual stage, both sides of a depthwise convolution, several consumers in a DenseNet) the
    mean of their scales is used; the paper does not cover that case. A group without BN, or without BN scales, gets
    None and is not pruned, since its filters' norms are in another unit; the others must meet a FLOPs target.

    Torch-Pruning's ``BNScaleImportance(normalizer=None)`` gives the same where each BN sees every channel once; where
    one sees flattened maps it gives a score for each pixel, so it is not called here.
    """
    return lambda group: group_score(group, _scales, of=_scaling)


def _scaling(layer: object) -> bool:
    return isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine


def _scales(layer: nn.Module) -> torch.Tensor:
    assert isinstance(layer.weight, torch.Tensor)
    return layer.weight.detach().abs()
