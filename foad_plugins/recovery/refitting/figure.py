"""The error of each layer before and after a refit, as a figure or as a panel of another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...utils.drawing import AFTER, BEFORE, MARK, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .layer_fit import LayerFit

__all__ = ["draw_errors", "refit_figure"]


def refit_figure(layers: Sequence[LayerFit]) -> Figure:
    """The error of each layer before and after; the height grows with the number of layers.

    Args:
        layers: of a report, at least one.

    Returns:
        A figure. Save it with ``figure.savefig(path)``.

    Raises:
        ImportError: Matplotlib is not installed (extra ``plot``).
        ValueError: there is no layer.
    """
    if not layers:
        raise ValueError("there is no refitted layer to draw")
    figure = new_figure(7, 1.3 + 0.21 * max(len(layers), 3))
    axes = figure.subplots()
    draw_errors(axes, dict(enumerate(layers)))
    axes.set_yticks(range(len(layers)), [shorten(layer.name) for layer in layers])
    # A dollar sign in a user-defined name would start a formula.
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylim(len(layers) - 0.4, -0.6)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False)
    return figure


def draw_errors(axes: Axes, layers: dict[int, LayerFit]) -> None:
    """Draw bars from the error after to the error before.

    Args:
        axes: where to draw.
        layers: by place on the vertical axis.
    """
    places = list(layers)
    before = [layer.error_before for layer in layers.values()]
    after = [layer.error_after for layer in layers.values()]
    axes.barh(places, before, 0.78, color=BEFORE, label="before")
    axes.barh(places, after, 0.46, color=AFTER, label="after")
    sums = [place for place, layer in layers.items() if layer.at_sum]
    if sums:
        axes.plot([0.0] * len(sums), sums, "o", color=MARK, markersize=3.5, clip_on=False, label="at a sum")
    axes.set_xlabel("error of the output over its variance", fontsize=9)
    axes.tick_params(labelsize=8, length=0)
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
