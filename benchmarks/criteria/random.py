"""Random: what any criterion has to beat."""

from __future__ import annotations

import torch
import torch_pruning as tp

from .register import CriterionContext, register_criterion


@register_criterion("random", needs_context=True)
class Random(tp.importance.Importance):
    """Uniform random scores from the run's seed.

    Groups differ by the order in which they are scored, which Torch-Pruning keeps. The global
    random state is neither read nor changed.

    Args:
        context: gives the seed.
    """

    def __init__(self, context: CriterionContext) -> None:
        self._generator = torch.Generator().manual_seed(context.seed)

    def __call__(self, group: tp.dependency.Group) -> torch.Tensor:
        """Scores in [0, 1), one for each channel of the group."""
        return torch.rand(len(group[0].idxs), generator=self._generator)
