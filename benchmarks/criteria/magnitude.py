"""L1, L2 and LAMP: small filters are removed first."""

from __future__ import annotations

import torch
from torch import nn

from .groups import by_filter, first_score
from .register import CriterionContext, Scorer, register_criterion


def power_sums(layer: nn.Module, p: int) -> torch.Tensor:
    """``sum |w| ** p`` over each filter of a layer, shape (out_channels,); biases are no part of a filter."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return by_filter(layer, weight.detach()).abs().pow(p).sum(1)


def lamp_scores(squares: torch.Tensor) -> torch.Tensor:
    """Each square's share of itself and all that are not smaller (LAMP, equation 4), from 0 to 1.

    Of equal squares the one with the higher index counts as the larger; zeros get 0.

    Args:
        squares: (C,), at least 0.
    """
    ordered, order = squares.double().sort(stable=True)
    rest = ordered.flip(0).cumsum(0).flip(0)
    shares = torch.zeros_like(ordered)
    shares[order] = torch.where(ordered > 0, ordered / rest, 0.0)
    return shares


@register_criterion("l1", needs_context=True)
def l1(context: CriterionContext) -> Scorer:
    """L1-norm of the producing filters (Li et al., ICLR 2017).

    Where several layers produce a channel, the first in the group counts. For a group rooted at a convolution this is
    Torch-Pruning's ``MagnitudeImportance(p=1, group_reduction="first", normalizer=None, target_types=[convolutions,
    Linear])``, number for number. Rooted at a depthwise convolution, as the groups of a MobileNet are, Torch-Pruning
    takes the kernels of the layer that reads the channels instead, so it is not called here.
    """
    return lambda group: first_score(group, lambda layer: power_sums(layer, 1))


@register_criterion("l2", needs_context=True)
def l2(context: CriterionContext) -> Scorer:
    """L2-norm of the producing filters, squared (SFP; He et al., IJCAI 2018).

    As :func:`l1` but for the power, and with p=2 equal to Torch-Pruning's in the same way. Torch-Pruning does not
    take the root either, which changes no order.
    """
    return lambda group: first_score(group, lambda layer: power_sums(layer, 2))


@register_criterion("lamp", needs_context=True)
def lamp(context: CriterionContext) -> Scorer:
    """LAMP score of the producing filters (Lee et al., ICLR 2021), which makes layers comparable.

    A filter's squared L2-norm over the sum of the squared norms of all filters of its layer that are not smaller. The
    paper scores single weights; a filter in the place of a weight is Torch-Pruning's reading of it, and its
    ``LAMPImportance`` has the formula right, but adds BN scales and the consumers' kernels to the norms and divides 0
    by 0 where a layer is dead. Within a layer the order is that of :func:`l2`: only global ranking sees a difference.
    """
    return lambda group: first_score(group, lambda layer: lamp_scores(power_sums(layer, 2)))
