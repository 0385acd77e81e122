"""The figure of a pruning report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..recovery.refitting.figure import draw_errors
from ..utils.drawing import AFTER, BEFORE, MARK, new_figure, shorten
from .data import GroupReport, LayerWidth, ReportData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["report_figure"]

_UNITS = ((1e9, "GFLOPs"), (1e6, "MFLOPs"), (1e3, "kFLOPs"))
_SHARES = tuple(number / 8 for number in range(1, 8))
_MANY_LAYERS = 40
"""More layers than this do not fit on a screen, so the scale is at both ends."""


def report_figure(report: ReportData) -> Figure:
    """Widths, FLOPs and errors of a refit layer by layer; the height grows with the number of layers.

    After a ranking by sensitivity one more panel shows how much the output changes by the share of a group's channels
    that is removed, at the group's root layer. The share that was removed is marked.

    Args:
        report: what :func:`~foad_plugins.prune` returned.

    Returns:
        A figure with a panel of widths, one of FLOPs for one image (one multiply-add is one) where any layer's are
        known, and one of the error of each layer before and after the refit, if there was one. Save it with
        ``figure.savefig(path)``.

    Raises:
        ImportError: Matplotlib is not installed (extra ``plot``).
    """
    layers = report.layers
    counted = any(layer.flops_before is not None for layer in layers)
    curves = {group.name: group for group in report.groups if group.curve is not None}
    refit = report.refit.layers if report.refit is not None else ()
    columns = 1 + counted + bool(curves) + bool(refit)
    figure = new_figure(3 + 4 * columns, 1.3 + 0.21 * max(len(layers), 3))
    panels = figure.subplots(1, columns, sharey=True, squeeze=False)[0]
    _bars(panels[0], [(layer.before, layer.after) for layer in layers])
    panels[0].set_xlabel("output channels", fontsize=9)
    if counted:
        unit, name = _unit(layers)
        _bars(panels[1], [(layer.flops_before, layer.flops_after) for layer in layers], unit)
        panels[1].set_xlabel(f"{name} for one image (one multiply-add is one)", fontsize=9)
    if curves:
        _losses(figure, panels[1 + counted], [curves.get(layer.name) for layer in layers])
    if refit:
        place = {layer.name: number for number, layer in enumerate(layers)}
        draw_errors(panels[-1], {place[one.name]: one for one in refit if one.name in place})
    panels[0].set_yticks(range(len(layers)), [shorten(layer.name) for layer in layers])
    # A dollar sign in a user-defined name would start a formula.
    for label in panels[0].get_yticklabels():
        label.set_parse_math(False)
    panels[0].set_ylim(max(len(layers), 1) - 0.4, -0.6)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
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


def _losses(figure: Figure, axes: Axes, rows: Sequence[GroupReport | None]) -> None:
    """The loss at seven shares as a heat map with a row for each layer, and the shares that were removed."""
    from matplotlib.colors import LogNorm

    table = np.full((len(rows), len(_SHARES)), np.nan)
    marks = []
    for row, group in enumerate(rows):
        curve = None if group is None else group.curve
        if group is not None and curve is not None:
            table[row] = [curve.loss(round(share * curve.channels)) for share in _SHARES]
            if group.selection.removed:
                marks.append((len(group.selection.removed) / curve.channels, row))
    highest = max(float(np.nanmax(table, initial=0.0)), 1e-12)
    lowest = max(float(np.nanmin(table, initial=highest)), 1e-5 * highest)
    norm = LogNorm(lowest, highest, clip=True)
    edges = (0.5 / 8, 7.5 / 8, len(rows) - 0.5, -0.5)
    shown = np.ma.masked_invalid(np.maximum(table, lowest))
    image = axes.imshow(shown, cmap="Blues", norm=norm, extent=edges, aspect="auto", interpolation="nearest")
    axes.plot([share for share, _ in marks], [row for _, row in marks], "D", color=MARK, markersize=4, clip_on=False)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
    axes.set_xlabel("loss by the share removed (orange: chosen)", fontsize=9)
    axes.tick_params(labelsize=8, length=0)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    figure.colorbar(image, ax=axes, fraction=0.05).ax.tick_params(labelsize=7)


def _unit(layers: Sequence[LayerWidth]) -> tuple[float, str]:
    most = max(layer.flops_before or 0 for layer in layers)
    return next(((unit, name) for unit, name in _UNITS if most >= unit), (1.0, "FLOPs"))
