"""Figures of a pruning report, drawn without pyplot: no window opens and no global state changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..utils.drawing import AFTER, BEFORE, MARK, new_figure, shorten
from .clustering import cluster_order, similarity_range
from .data import GroupReport, LayerWidth, ReportData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["pair_figure", "report_figure", "similarity_figure"]

_UNITS = ((1e9, "GFLOPs"), (1e6, "MFLOPs"), (1e3, "kFLOPs"))
_MANY_LAYERS = 40
"""More than this do not fit on a screen, and the scale must be seen at both ends."""
_MOST_LABELS = 40
"""Channels whose numbers still fit along an axis."""


def report_figure(report: ReportData) -> Figure:
    """Widths and FLOPs layer by layer, before and after; the figure is as high as the layers need.

    Args:
        report: what :func:`~foad_plugins.prune` returned.

    Returns:
        A figure with a panel of widths and, where any layer's FLOPs are known, one of FLOPs for one image (one
        multiply-add is one). Save it with ``figure.savefig(path)``.

    Raises:
        ImportError: Matplotlib is not installed (extra ``plot``).
    """
    layers = report.layers
    counted = any(layer.flops_before is not None for layer in layers)
    figure = new_figure(11 if counted else 7, 1.3 + 0.21 * max(len(layers), 3))
    panels = figure.subplots(1, 2 if counted else 1, sharey=True, squeeze=False)[0]
    _bars(panels[0], [(layer.before, layer.after) for layer in layers])
    panels[0].set_xlabel("output channels", fontsize=9)
    if counted:
        unit, name = _unit(layers)
        _bars(panels[1], [(layer.flops_before, layer.flops_after) for layer in layers], unit)
        panels[1].set_xlabel(f"{name} for one image (one multiply-add is one)", fontsize=9)
    panels[0].set_yticks(range(len(layers)), [shorten(layer.name) for layer in layers])
    # Names are the user's: a dollar sign in one must not start a formula.
    for label in panels[0].get_yticklabels():
        label.set_parse_math(False)
    panels[0].set_ylim(max(len(layers), 1) - 0.4, -0.6)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
    return figure


def similarity_figure(group: GroupReport) -> Figure:
    """The similarities of a group's channels as a heat map, similar channels beside each other.

    Channels stand in the order of :func:`~foad_plugins.report.clustering.cluster_order`; orange marks at the upper and
    left edge are the removed ones. Colors are even in the logarithm of the similarity, from the least to the greatest
    between two different channels.

    Args:
        group: one of the ``groups`` of a :class:`~foad_plugins.ReportData`.

    Raises:
        ImportError: Matplotlib is not installed (extra ``plot``).
        ValueError: the group's similarity was not measured, or is not finite.
    """
    if group.similarity is None:
        raise ValueError(f"the similarity of the group of {group.name!r} was not measured")
    order = cluster_order(group.similarity)
    table = group.similarity.numpy()
    low, high = similarity_range(table)
    figure = new_figure(6.6, 5.8)
    from matplotlib.colors import LogNorm

    axes = figure.subplots()
    image = axes.imshow(table[np.ix_(order, order)], cmap="viridis", norm=LogNorm(low, high, clip=True))
    figure.colorbar(
        image, ax=axes, label="similarity", ticks=np.geomspace(low, high, 5), format="%.3g"
    ).minorticks_off()
    removed = set(group.selection.removed)
    places = [place for place, channel in enumerate(order) if channel in removed]
    top, left = axes.get_xaxis_transform(), axes.get_yaxis_transform()
    axes.bar(places, 0.022, 1.0, 1.008, color=MARK, clip_on=False, transform=top)
    axes.barh(places, 0.022, 1.0, -0.03, color=MARK, clip_on=False, transform=left)
    axes.set(xlim=(-0.5, len(order) - 0.5), ylim=(len(order) - 0.5, -0.5))
    ticks = [str(channel) for channel in order] if len(order) <= _MOST_LABELS else []
    axes.set_xticks(range(len(ticks)), ticks, rotation=90)
    axes.set_yticks(range(len(ticks)), ticks)
    axes.tick_params("x", labelsize=7, length=0)
    axes.tick_params("y", labelsize=7, length=0, pad=16)
    axes.set_xlabel("channels, ordered by cluster", fontsize=9)
    title = f"{shorten(group.name)}: {len(places)} of {len(order)} channels removed (orange)"
    axes.set_title(title, fontsize=10, pad=14, parse_math=False)
    return figure


def pair_figure(group: GroupReport) -> Figure:
    """Removed channels beside their representatives, as a layer that reads both sees them on one image.

    Both maps of a pair share one scale of colors.

    Args:
        group: one of the ``groups`` of a :class:`~foad_plugins.ReportData`.

    Raises:
        ImportError: Matplotlib is not installed (extra ``plot``).
        ValueError: the group has no pairs to show.
    """
    if not group.pairs:
        raise ValueError(f"the group of {group.name!r} has no pairs of maps to show")
    columns = min(3, len(group.pairs))
    rows = math.ceil(len(group.pairs) / columns)
    figure = new_figure(3.6 * columns, 0.5 + 2.2 * rows)
    title = f"{shorten(group.name)}: channels removed, each beside its representative"
    figure.suptitle(title, fontsize=10, parse_math=False)
    panels = figure.subplots(rows, 2 * columns, squeeze=False).flat
    for axes in panels:
        axes.set_axis_off()
    for number, pair in enumerate(group.pairs):
        low, high = float(pair.maps.min()), float(pair.maps.max())
        titles = (
            f"{pair.removed}, removed\nsimilarity {pair.similarity:.3f}",
            f"{pair.representative}, kept\nat {shorten(pair.layer, 24)}",
        )
        for place, (values, title) in enumerate(zip(pair.maps.numpy(), titles, strict=True)):
            axes = panels[2 * number + place]
            axes.imshow(values, cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
            axes.set_title(title, fontsize=8, parse_math=False)
    return figure


def _bars(axes: Axes, pairs: Sequence[tuple[int | None, int | None]], unit: float = 1.0) -> None:
    for number, (label, height, color) in enumerate((("before", 0.78, BEFORE), ("after", 0.46, AFTER))):
        known = [(place, value) for place, pair in enumerate(pairs) if (value := pair[number]) is not None]
        places = [place for place, _ in known]
        axes.barh(places, [value / unit for _, value in known], height, color=color, label=label)
    axes.tick_params(labelsize=8, length=0)
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    if len(pairs) > _MANY_LAYERS:
        axes.tick_params("x", labeltop=True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _unit(layers: Sequence[LayerWidth]) -> tuple[float, str]:
    most = max(layer.flops_before or 0 for layer in layers)
    return next(((unit, name) for unit, name in _UNITS if most >= unit), (1.0, "FLOPs"))
