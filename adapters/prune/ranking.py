"""The channels of coupled groups in the order of their removal."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch_pruning as tp
from torch import Tensor

from ..torch_pruning.groups import CoupledGroup
from ..torch_pruning.importance import FOADImportance
from .search import Candidate

__all__ = ["RankingCache"]


class RankingCache:
    """Ranks every group once a step: it takes long, and a random ranking must not change within a step."""

    def __init__(self) -> None:
        # By name of the root layer, since every attempt traces a new graph.
        self._widths: dict[str, int] = {}
        self._known: dict[str, Candidate | None] = {}

    def clear(self) -> None:
        """Start a new step. The widths before the first step are kept."""
        self._known.clear()

    @property
    def unscored(self) -> list[str]:
        """Names of the groups that the importance gave no scores."""
        return [name for name, candidate in self._known.items() if candidate is None]

    def candidate(
        self,
        group: CoupledGroup,
        importance: FOADImportance,
        ranker: tp.importance.Importance | None,
        similarity: Tensor,
    ) -> Candidate | None:
        """A group that can lose channels; None if the ranker gives it no scores.

        Args:
            group: the group.
            importance: ranks, unless there is a ``ranker``.
            ranker: another importance of Torch-Pruning.
            similarity: (C, C) between the channels of the group's root.

        Raises:
            ValueError: the ranker fails, or does not give C finite scores.
        """
        width = self._widths.setdefault(group.name, group.channels_per_group)
        if group.name not in self._known:
            ranking = _by_order(group, importance, similarity) if ranker is None else _by_scores(group, ranker)
            self._known[group.name] = None if ranking is None else Candidate(group, *ranking, width)
        known = self._known[group.name]
        return None if known is None else replace(known, group=group)


_Ranking = tuple[tuple[int, ...], tuple[float, ...]]


def _by_order(group: CoupledGroup, importance: FOADImportance, similarity: Tensor) -> _Ranking | None:
    order = importance.ranking(group, similarity)
    return None if order is None else (order.sequence, tuple(order.scores[channel] for channel in order.sequence))


def _by_scores(group: CoupledGroup, ranker: tp.importance.Importance) -> _Ranking | None:
    kind = type(ranker).__name__
    try:
        found = ranker(group.group)
    except Exception as error:
        raise ValueError(
            f"{kind} cannot score the group of layer {group.name!r} ({error!r}); one that needs gradients must have "
            "them, in every step"
        ) from error
    if found is None:
        return None
    got: object = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if got == (group.num_channels,):
        got = None if torch.isfinite(found).all() else "NaN or Inf"
    if got is not None:
        raise ValueError(
            f"{kind} must give {group.num_channels} finite scores to the group of layer {group.name!r}, got {got}"
        )
    # Channels that are removed together share one score.
    shared = found.detach().double().cpu().view(group.channel_groups, -1).mean(0)
    rank = shared.argsort(stable=True)
    return tuple(rank.tolist()), tuple(shared[rank].tolist())
