"""The figure of a pruning report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..utils.drawing import AFTER, BEFORE, new_figure, shorten
from .data import LayerWidth, ReportData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["report_figure"]

_UNITS = ((1e9, "GFLOPs"), (1e6, "MFLOPs"), (1e3, "kFLOPs"))
_MANY_LAYERS = 40
"""More layers than this do not fit on a screen, so the scale is at both ends."""


def report_figure(report: ReportData) -> Figure:
    """Widths and FLOPs layer by layer, before and after; the height grows with the number of layers.

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


def _unit(layers: Sequence[LayerWidth]) -> tuple[float, str]:
    most = max(layer.flops_before or 0 for layer in layers)
    return next(((unit, name) for unit, name in _UNITS if most >= unit), (1.0, "FLOPs"))
