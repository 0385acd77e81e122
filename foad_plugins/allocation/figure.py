"""Sensitivity curves as small panels on one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..utils.drawing import AFTER, BEFORE, MARK, new_figure, shorten
from .group_curve import GroupCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["sensitivity_figure"]

_COLUMNS = 6
_DECADES = 6


def sensitivity_figure(groups: Sequence[GroupCurve], removed: Sequence[int] | None = None) -> Figure:
    """The loss of every group by the share of its channels that is removed, one panel a group, all on one scale.

    Filled points were measured, and the line between them follows the local error. With ``removed``, a vertical line
    marks the share that is removed and the point of the curve there.

    Args:
        groups: the curves.
        removed: how many channels each group loses, of one part; None marks nothing.

    Returns:
        A figure with a logarithmic scale of losses. Save it with ``figure.savefig(path)``.

    Raises:
        ImportError: Matplotlib is not installed (extra ``plot``).
        ValueError: there is no curve.
    """
    if not groups:
        raise ValueError("there is no curve to draw")
    columns = min(_COLUMNS, len(groups))
    rows = math.ceil(len(groups) / columns)
    figure = new_figure(1.0 + 1.75 * columns, 1.0 + 1.45 * rows)
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    highest = max((loss for curve in groups for loss in curve.losses), default=0.0) or 1.0
    lowest = highest * 10.0**-_DECADES
    least = min((loss for curve in groups for loss in curve.losses if loss > lowest), default=lowest)
    bottom = max(lowest, least / 2)
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    for number, (axes, curve) in enumerate(zip(panels, groups, strict=False)):
        shares = [count / curve.channels for count in curve.removed]
        losses = [max(loss, bottom) for loss in curve.losses]
        axes.plot(shares, losses, color=AFTER, linewidth=1.4)
        known = [place for place, measured in enumerate(curve.measured) if measured]
        axes.plot([shares[k] for k in known], [losses[k] for k in known], "o", color=AFTER, markersize=3.5)
        if removed is not None and removed[number]:
            share = removed[number] / curve.channels
            axes.axvline(share, color=MARK, linewidth=1.0)
            axes.plot([share], [max(curve.loss(removed[number]), bottom)], "D", color=MARK, markersize=4.5)
        if curve.limit is not None:
            axes.axvspan(curve.limit / curve.channels, 1, color=BEFORE, alpha=0.6, linewidth=0)
        axes.set_yscale("log")
        axes.set(xlim=(0, 1), ylim=(bottom, 2 * highest))
        axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        axes.tick_params(labelsize=7, length=2)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(f"{shorten(curve.name, 24)} ({curve.channels * curve.parts})", fontsize=7, parse_math=False)
    figure.supxlabel("share of the channels removed", fontsize=9)
    figure.supylabel("difference of the output", fontsize=9)
    if removed is not None:
        figure.suptitle("orange: the share that is removed", fontsize=9, color=MARK)
    return figure
