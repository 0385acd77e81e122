"""A pruning report as one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, StrictUndefined

from ..utils.files import write_atomically
from .clustering import cluster_order, similarity_range
from .curve_views import curve_views
from .data import ChannelPair, GroupReport, ReportData
from .png import GRADIENT, block_means, heatmap_uri, marker_strip_uri

__all__ = ["GroupView", "group_views", "write_html"]

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_DASH = "\N{EN DASH}"
_VERIFICATIONS = {
    "verified": "the pruned network gives the outputs of the original with the removed channels zeroed",
    "not verifiable": "a normalization mixes removed and kept channels, so the outputs must differ",
    "skipped": "the pruned network was not compared with the original",
}


def write_html(report: ReportData, path: Path, about: Mapping[str, str] | None = None) -> Path:
    """Write a report as one self-contained page.

    The page loads nothing from the network. It is below about ten megabytes, and names the pictures and lists that
    were left out for that.

    Args:
        report: what :func:`~foad_plugins.prune` returned.
        path: the file to write; an existing one is replaced in one step, and folders are made as needed.
        about: where the report comes from, such as model, data and date, shown below the title.

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written.
    """
    page = _environment().from_string(files(__package__).joinpath("templates/report.html").read_text("utf-8"))
    text = page.render(
        report=report,
        about=about or {},
        total=report.channels,
        headlines=_headlines(report),
        groups=group_views(report.groups),
        curves=curve_views(report.groups),
        verifications={name: text for name, text in _VERIFICATIONS.items() if _count(report, name)},
        count=lambda name: _count(report, name),
        counted=any(layer.flops_before is not None for layer in report.layers),
        widest=max((layer.before for layer in report.layers), default=1),
        worst=max((layer.error_before for layer in report.refit.layers), default=0.0) if report.refit else 0.0,
        gradient=", ".join(GRADIENT),
    )
    # A name may have half of a surrogate pair, which UTF-8 cannot encode.
    write_atomically(path, text.encode("utf-8", "replace"))
    return path


def _environment() -> Environment:
    # Names of layers are user-defined, and may have markup.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(change=_change, short=_short, share=_share)
    return environment


def _headlines(report: ReportData) -> list[dict[str, Any]]:
    images = f" with {report.batch_size} images" if report.batch_size is not None else ""
    return [
        _headline(
            "channels", report.channels, report.channels - report.removed, f"in {report.coupled_groups} coupled groups"
        ),
        _headline("parameters", report.params_before, report.params_after, ""),
        _headline("FLOPs", report.flops_before, report.flops_after, "one image, one multiply-add is one"),
        _headline("latency", report.latency_before, report.latency_after, f"median of a call{images}"),
    ]


def _headline(name: str, before: float | None, after: float | None, note: str) -> dict[str, Any]:
    values = [value for value in (before, after) if value is not None]
    known = len(values) == 2
    if name == "latency":
        shown = exact = " → ".join(f"{1000 * value:,.2f} ms" for value in values)
    else:
        shown = exact = " → ".join(f"{value:,}" for value in values)
        if name != "channels":
            shown = " → ".join(_short(value) for value in values)
    return {
        "name": name,
        "known": known,
        "before": before,
        "after": after,
        "shown": shown,
        "exact": exact,
        "note": note,
    }


def _count(report: ReportData, verification: str) -> int:
    return sum(group.verification == verification for group in report.groups)


def _change(after: float | None, before: float | None) -> str:
    """The change in percent; a dash if it is not known."""
    if before is None or after is None or not before:
        return _DASH
    percent = f"{100 * (after - before) / before:+.1f} %"
    return "0 %" if percent in ("+0.0 %", "-0.0 %") else percent.replace("-", "\N{MINUS SIGN}")


def _share(after: float | None, before: float | None) -> str:
    """What remains, in percent, as the length of a bar."""
    return f"{max(0.0, min(100.0, 100 * (after or 0) / before)):.2f}%" if before else "0%"


def _short(number: float | None) -> str:
    """A count with one digit after the point and a prefix."""
    if number is None:
        return _DASH
    for size, prefix in _PREFIXES:
        if abs(number) >= size:
            return f"{number / size:,.1f} {prefix}"
    return str(number)


# With more groups than this, each gets fewer and smaller pictures, so that a page is below about ten megabytes.
_GROUPS_AT_FULL_SIZE = 48
_MOST_PIXELS = 256
_LEAST_PIXELS = 64
_MOST_PAIRS = 8
_MOST_REPRESENTATIVES = 256
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
    representative: str
    flat: bool


@dataclass(frozen=True)
class GroupView:
    """What the page shows of a group.

    Attributes:
        group: the group itself.
        turn: which of the entries with this name it is, and of how many; with several steps a group has several.
        before: channels before, in all channel groups.
        after: channels after, in all channel groups.
        kept: indices of the kept channels in words.
        representatives: each representative with its removed channels and their similarities; most channels first.
        representatives_left_out: how many representatives are not in ``representatives``.
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
    representatives: list[tuple[int, list[tuple[int, float]]]]
    representatives_left_out: int
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
    by_representative: dict[int, list[tuple[int, float]]] = {}
    for channel, representative, similarity in zip(
        chosen.removed, chosen.representative, chosen.similarity, strict=True
    ):
        by_representative.setdefault(representative, []).append((channel, similarity))
    representatives = sorted(by_representative.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    picture, missing = _heat(group, pixels)
    places = {pair.layer for pair in group.pairs}
    return GroupView(
        group=group,
        turn=turn,
        before=chosen.num_channels * group.channel_groups,
        after=len(chosen.kept) * group.channel_groups,
        kept=_ranges(chosen.kept),
        representatives=representatives[:_MOST_REPRESENTATIVES],
        representatives_left_out=max(0, len(representatives) - _MOST_REPRESENTATIVES),
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
    # The diagonal is 1, and would brighten the mean of its block.
    np.fill_diagonal(table, high)
    removed = np.isin(order, group.selection.removed).astype(np.float64)
    means = np.log(np.maximum(block_means(table, pixels), low))
    view = HeatView(
        image=heatmap_uri(means, np.log(low), np.log(high)),
        top=marker_strip_uri(block_means(removed[None], pixels)),
        left=marker_strip_uri(block_means(removed[:, None], pixels)),
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
    removed, representative = (heatmap_uri(block_means(values, _MAP_PIXELS), low, high) for values in maps)
    return PairView(pair, removed, representative, flat=low == high)


def _ranges(indices: Sequence[int]) -> str:
    """Ascending indices as text, runs as ranges."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs) or "none"
