"""Coupled groups with their channels in the order in which they should go."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch_pruning as tp
from torch import Tensor
from torch_pruning.dependency import Group

from ..torch_pruning.groups import group_name, num_channel_groups
from ..torch_pruning.importance import FOADImportance
from .search import Candidate

__all__ = ["RankingCache"]


class RankingCache:
    """Ranks every group once a step: it takes long, and what is random must not change under way."""

    def __init__(self) -> None:
        # By name of the root layer, for graphs are traced anew.
        self._widths: dict[str, int] = {}
        self._known: dict[str, Candidate | None] = {}

    def forget(self) -> None:
        """Begin a new step; how wide the groups were before the first one stays known."""
        self._known.clear()

    @property
    def unscored(self) -> list[str]:
        """Names of the groups that the importance gave no scores to."""
        return [name for name, candidate in self._known.items() if candidate is None]

    def candidate(
        self, group: Group, importance: FOADImportance, ranker: tp.importance.Importance | None, similarity: Tensor
    ) -> Candidate | None:
        """A group that can lose channels; None if the ranker gives it no scores.

        Args:
            group: full.
            importance: ranks, unless ``ranker`` does.
            ranker: another importance of Torch-Pruning.
            similarity: (C, C) between the channels of the group's root.

        Raises:
            ValueError: the ranker fails, or gives other than C finite scores.
        """
        name, parts = group_name(group), num_channel_groups(group)
        width = self._widths.setdefault(name, len(similarity) // parts)
        if name not in self._known:
            ranking = (
                _by_order(group, importance, similarity)
                if ranker is None
                else _by_scores(group, ranker, len(similarity), parts)
            )
            self._known[name] = None if ranking is None else Candidate(group, name, parts, *ranking, width)
        known = self._known[name]
        return None if known is None else replace(known, group=group)


_Ranking = tuple[tuple[int, ...], tuple[float, ...]]


def _by_order(group: Group, importance: FOADImportance, similarity: Tensor) -> _Ranking | None:
    order = importance.ranking(group, similarity)
    return None if order is None else (order.sequence, tuple(order.scores[channel] for channel in order.sequence))


def _by_scores(group: Group, ranker: tp.importance.Importance, channels: int, parts: int) -> _Ranking | None:
    who, name = type(ranker).__name__, group_name(group)
    try:
        found = ranker(group)
    except Exception as error:
        raise ValueError(
            f"{who} cannot score the group of layer {name!r} ({error!r}); one that needs gradients must have them, in "
            "every step"
        ) from error
    if found is None:
        return None
    got: object = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if got == (channels,):
        got = None if torch.isfinite(found).all() else "NaN or Inf"
    if got is not None:
        raise ValueError(f"{who} must give {channels} finite scores to the group of layer {name!r}, got {got}")
    # Channels that go together share one score.
    shared = found.detach().double().cpu().view(parts, -1).mean(0)
    rank = shared.argsort(stable=True)
    return tuple(rank.tolist()), tuple(shared[rank].tolist())
