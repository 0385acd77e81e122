"""FPGM: filters near the geometric median of their layer are removed first."""

from __future__ import annotations

import torch
import torch_pruning as tp
from torch import nn

from .groups import by_filter, group_score
from .register import CriterionContext, register_criterion


def filter_distances(layer: nn.Module) -> torch.Tensor:
    """Sum of Euclidean distances from each filter of a layer to all its filters, shape (out_channels,).

    Filters are compared with their signs: a filter and its negative are far apart.
    """
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    filters = by_filter(layer, weight.detach())
    # The shortcut through a matrix product loses small distances, and those decide the order.
    return torch.cdist(filters, filters, compute_mode="donot_use_mm_for_euclid_dist").sum(1)


@register_criterion("fpgm", needs_context=True)
class FPGM(tp.importance.Importance):
    """Sum of distances to the layer's other raw filters (FPGM; He et al., CVPR 2019).

    A filter near the geometric median of its layer has a small sum and is removed first. Torch-Pruning's own
    ``FPGMImportance`` takes the absolute value of every weight before it measures, so it is not used here.

    Where several layers produce a group (a residual stage) the mean of their sums is used; the paper does not
    cover that case. No data is needed.

    Args:
        context: not used.
    """

    def __init__(self, context: CriterionContext) -> None:
        pass

    def __call__(self, group: tp.dependency.Group) -> torch.Tensor | None:
        """Scores of the group's channels, at least 0; None if no layer with filters produces them."""
        return group_score(group, filter_distances)
