"""The channels of coupled groups in the order of their removal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
import torch_pruning as tp
from torch import Tensor

from ...criterion.nearest import NearestKept
from ...criterion.selection import Selection, greedy_select
from ...utils.memory import is_out_of_memory
from ..torch_pruning.groups import CoupledGroup, mean_over_channel_groups
from ..torch_pruning.importance import FOADImportance
from .search import Candidate

__all__ = ["RankingCache"]

_Ranking = tuple[tuple[int, ...], tuple[float, ...]]
_Found = TypeVar("_Found")


class RankingCache:
    """Ranks every group once a step: it takes long, and a random ranking must not change within a step.

    The sums of a group's similarities are freed when it has been ranked.

    Args:
        importance: collects similarity, and ranks unless there is a ``ranker``.
        ranker: another importance of Torch-Pruning.
        keep_similarity: whether to keep the similarities of all groups until the next step.

    Attributes:
        similarities: (C, C) float32 on the CPU by name of the group, if they are kept.
        unobserved: names of the groups without a feature map that was observed.
    """

    def __init__(
        self,
        importance: FOADImportance,
        ranker: tp.importance.Importance | None = None,
        *,
        keep_similarity: bool = False,
    ) -> None:
        self._importance, self._ranker, self._keep = importance, ranker, keep_similarity
        self.similarities: dict[str, Tensor] = {}
        self.unobserved: set[str] = set()
        # By name of the root layer, since every attempt traces a new graph.
        self._widths: dict[str, int] = {}
        self._candidates: dict[str, Candidate | None] = {}
        self._selections: dict[str, Selection | None] = {}
        self._unscored: dict[str, None] = {}

    def clear(self) -> None:
        """Start a new step. The widths before the first step are kept."""
        self.similarities, self.unobserved = {}, set()
        self._candidates, self._selections, self._unscored = {}, {}, {}

    @property
    def unscored(self) -> list[str]:
        """Names of the groups that the importance gave no scores."""
        return list(self._unscored)

    def selection(self, group: CoupledGroup, neighbors: int, threshold: float) -> Selection | None:
        """What the published rule selects in a group; None if its similarity was not observed."""
        if group.name not in self._selections:
            self._selections[group.name] = self._from_similarity(
                group, lambda found: greedy_select(_shared(found, group), neighbors, threshold)
            )
        return self._selections[group.name]

    def candidate(self, group: CoupledGroup) -> Candidate | None:
        """A group that can lose channels; None if its similarity was not observed or the ranker gives it no scores.

        Raises:
            ValueError: the ranker fails, or does not give C finite scores.
        """
        if group.name not in self._candidates:
            self._candidates[group.name] = self._from_similarity(group, lambda found: self._ranked(group, found))
        known = self._candidates[group.name]
        return None if known is None else replace(known, group=group)

    def _ranked(self, group: CoupledGroup, similarity: Tensor) -> Candidate | None:
        width = self._widths.setdefault(group.name, group.channels_per_group)
        ranker = self._ranker
        ranking = self._by_order(group, similarity) if ranker is None else _by_scores(group, ranker)
        if ranking is None:
            self._unscored[group.name] = None
            return None
        return Candidate(group, *ranking, width, NearestKept(_shared(similarity, group), ranking[0]))

    def _by_order(self, group: CoupledGroup, similarity: Tensor) -> _Ranking | None:
        order = self._importance.ranking(group, similarity)
        return None if order is None else (order.sequence, tuple(order.scores[channel] for channel in order.sequence))

    def _from_similarity(self, group: CoupledGroup, function: Callable[[Tensor], _Found | None]) -> _Found | None:
        similarity = self._importance.similarity(group)
        if similarity is None:
            self.unobserved.add(group.name)
            return None
        if self._keep:
            self.similarities[group.name] = _shared(similarity, group).cpu()
        found = function(similarity)
        self._importance.release(group)
        return found


def _shared(similarity: Tensor, group: CoupledGroup) -> Tensor:
    """Between relative indices: channels that are removed together share one similarity."""
    return mean_over_channel_groups(similarity, group.channel_groups)


def _by_scores(group: CoupledGroup, ranker: tp.importance.Importance) -> _Ranking | None:
    kind = type(ranker).__name__
    try:
        found = ranker(group.group)
    except Exception as error:
        if is_out_of_memory(error):
            raise
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
