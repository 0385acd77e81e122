"""A coupled group as the page shows it: its channels in words, its similarities and maps as small pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .clustering import cluster_order, similarity_range
from .raster import heat, marks, shrink
from .report import ChannelPair, GroupReport

__all__ = ["GroupView", "group_views"]

# A page is to stay below about ten megabytes, however many groups there are: from so many on each gets less.
_GROUPS_AT_FULL_SIZE = 48
_MOST_PIXELS = 256
_LEAST_PIXELS = 64
_MOST_PAIRS = 8
_MOST_KEEPERS = 256
_MAP_PIXELS = 64


@dataclass(frozen=True)
class HeatView:
    """The heat map of a group: pictures as data URIs, and how to read them."""

    image: str
    top: str
    left: str
    low: float
    high: float
    channels: int
    pixels: int


@dataclass(frozen=True)
class PairView:
    """Two maps as data URIs, and the pair they are of."""

    pair: ChannelPair
    removed: str
    keeper: str
    flat: bool


@dataclass(frozen=True)
class GroupView:
    """What the page says about a group.

    Attributes:
        group: the group itself.
        turn: which of the entries with this name it is, and of how many; with several steps a group comes again.
        before: channels before, in all parts.
        after: channels after, in all parts.
        kept: indices of the kept channels in words.
        keepers: keeper, with the channels removed for its sake and their similarities; most channels first.
        keepers_left_out: how many keepers are not in ``keepers``.
        heat: the heat map; None if there is none to show.
        missing: why there is no heat map.
        pairs: pictures of pairs.
        place: the layer where all of them were read; empty if there are several.
        pairs_left_out: how many pairs are not in ``pairs``.
    """

    group: GroupReport
    turn: tuple[int, int]
    before: int
    after: int
    kept: str
    keepers: list[tuple[int, list[tuple[int, float]]]]
    keepers_left_out: int
    heat: HeatView | None
    missing: str
    pairs: list[PairView]
    place: str
    pairs_left_out: int


def group_views(groups: Sequence[GroupReport]) -> list[GroupView]:
    """All groups in their order, with smaller and fewer pictures the more there are."""
    share = min(1.0, _GROUPS_AT_FULL_SIZE / max(len(groups), 1))
    pixels = max(_LEAST_PIXELS, int(_MOST_PIXELS * share**0.5))
    most_pairs = max(1, int(_MOST_PAIRS * share))
    times, turns = Counter(group.name for group in groups), Counter[str]()
    views = []
    for group in groups:
        turns[group.name] += 1
        views.append(_view(group, (turns[group.name], times[group.name]), pixels, most_pairs))
    return views


def _view(group: GroupReport, turn: tuple[int, int], pixels: int, most_pairs: int) -> GroupView:
    chosen = group.selection
    by_keeper: dict[int, list[tuple[int, float]]] = {}
    for channel, keeper, similarity in zip(chosen.removed, chosen.keeper, chosen.similarity, strict=True):
        by_keeper.setdefault(keeper, []).append((channel, similarity))
    keepers = sorted(by_keeper.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    picture, missing = _heat(group, pixels)
    places = {pair.layer for pair in group.pairs}
    return GroupView(
        group=group,
        turn=turn,
        before=chosen.num_channels * group.parts,
        after=len(chosen.kept) * group.parts,
        kept=_ranges(chosen.kept),
        keepers=keepers[:_MOST_KEEPERS],
        keepers_left_out=max(0, len(keepers) - _MOST_KEEPERS),
        heat=picture,
        missing=missing,
        pairs=[_pair(pair) for pair in group.pairs[:most_pairs]],
        place=places.pop() if len(places) == 1 else "",
        pairs_left_out=max(0, len(group.pairs) - most_pairs),
    )


def _heat(group: GroupReport, pixels: int) -> tuple[HeatView | None, str]:
    if group.similarity is None:
        return None, "The similarity of these channels was not measured."
    if group.similarity.shape[0] < 2:
        return None, "Fewer than two channels: nothing to compare."
    try:
        order = cluster_order(group.similarity)
    except ValueError as error:
        return None, f"The similarity cannot be drawn: {error}."
    table = group.similarity.numpy().astype(np.float64)[np.ix_(order, order)]
    low, high = similarity_range(table)
    # A channel is no neighbour of itself, and must not brighten the block around it.
    np.fill_diagonal(table, high)
    removed = np.isin(order, group.selection.removed).astype(np.float64)
    means = np.log(np.maximum(shrink(table, pixels), low))
    view = HeatView(
        image=heat(means, np.log(low), np.log(high)),
        top=marks(shrink(removed[None], pixels)),
        left=marks(shrink(removed[:, None], pixels)),
        low=low,
        high=high,
        channels=len(order),
        pixels=len(means),
    )
    return view, ""


def _pair(pair: ChannelPair) -> PairView:
    maps: npt.NDArray[np.floating] = pair.maps.detach().cpu().double().numpy()
    finite = maps[np.isfinite(maps)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    removed, keeper = (heat(shrink(values, _MAP_PIXELS), low, high) for values in maps)
    return PairView(pair, removed, keeper, flat=low == high)


def _ranges(indices: Sequence[int]) -> str:
    """Ascending indices in words, runs drawn together."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs) or "none"
