"""Accuracy over FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from ..data.estimates import Estimate
from ..data.leaderboard import Leaderboard, Row
from ..data.published import published
from ..formatting import escape_html, format_percent
from .interactive import INTERVALS, PageFigure, chart_layout, height_for, page_figure, scatter
from .png import GREY, draw_series, encode_png, escape_mathtext, name_points, new_figure
from .series import Series
from .style import SeriesStyles, hover_text, percent_limits, row_key


@dataclass(frozen=True)
class AccuracyFlops:
    """Accuracy over FLOPs at one stage of the runs.

    Attributes:
        stage: its name.
        series: one for each criterion, x in MFLOPs of one image and y in percent, a point for each target.
        base: accuracy before pruning.
        x_limits: limits of the axis, in MFLOPs.
        y_limits: limits of the axis, in percent.
    """

    stage: str
    series: tuple[Series, ...]
    base: Estimate
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]


def accuracy_flops(boards: Sequence[Leaderboard], styles: SeriesStyles) -> list[AccuracyFlops]:
    """The chart's data, stage by stage in the order of the runs.

    Args:
        boards: of one suite, which differ only in the target; at least one.
        styles: of their rows.
    """
    stages = dict.fromkeys(stage for board in boards for stage in board.stages)
    return [_stage(boards, styles, stage) for stage in stages]


def _stage(boards: Sequence[Leaderboard], styles: SeriesStyles, stage: str) -> AccuracyFlops:
    lines: dict[tuple[str, str, str | None], list[tuple[Leaderboard, Row]]] = {}
    for board in boards:
        for row in board.rows:
            lines.setdefault((row.criterion, row.method, row.compensate), []).append((board, row))
    series = tuple(_series(lines[key], styles, stage) for key in sorted(lines, key=lambda key: key[0]))
    base, flops = boards[0].rows[0].base, [x for one in series for x in one.x]
    # Not from zero: rows whose FLOPs differ within a target's tolerance should not hide each other.
    margin = 0.06 * boards[0].rows[0].base_flops / 1e6
    return AccuracyFlops(
        stage=stage,
        series=series,
        base=base,
        x_limits=(min(flops) - margin, max(flops) + margin),
        y_limits=percent_limits([base, *(row.stages.get(stage) for board in boards for row in board.rows)]),
    )


def _series(pairs: Sequence[tuple[Leaderboard, Row]], styles: SeriesStyles, stage: str) -> Series:
    known = [(board, row, row.stages[stage]) for board, row in pairs if stage in row.stages]
    known.sort(key=lambda each: each[1].flops.mean)
    return Series(
        name=next((row.title for _, row in pairs if row.missing), pairs[0][1].title),
        style=styles(pairs[0][1]),
        x=tuple(row.flops.mean / 1e6 for _, row, _ in known),
        y=tuple(100 * value.mean for *_, value in known),
        y_margin=tuple(100 * (value.margin or 0) for *_, value in known),
        hover=tuple(hover_text(board, row, stage) for board, row, _ in known),
        rows=tuple(row_key(board, row) for board, row, _ in known),
    )


def accuracy_flops_png(board: Leaderboard, styles: SeriesStyles) -> bytes:
    """A PNG with a panel for each stage, because accuracies before and after fine-tuning can be far apart."""
    panels = accuracy_flops([board], styles)
    height = max(4.4, 1.8 + 0.2 * len(board.rows))
    figure = new_figure(6 * max(2, len(panels)), height)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for place, panel in zip(axes, panels, strict=True):
        known = [series for series in panel.series if series.x]
        for series in known:
            draw_series(place, series)
        base = 100 * panel.base.mean
        place.axhline(base, color=GREY, linewidth=1, linestyle=":")
        place.set_title(panel.stage)
        place.set_xlim(*panel.x_limits)
        place.set_ylim(*panel.y_limits)
        place.set_xlabel("MFLOPs of one image (fvcore: multiply-adds)")
        place.grid(alpha=0.3)
        place.annotate(
            f"base {format_percent(panel.base)} %",
            xy=(0.02, base),
            xycoords=("axes fraction", "data"),
            va="bottom",
            color=GREY,
            fontsize=8,
        )
        points = [(series.name, series.x[0], series.y[0], series.style.color) for series in known]
        # A name takes 0.2 inches, and titles and labels take 1.4.
        name_points(place, points, gap=0.2 / (height - 1.4))
    spread = f"\nmean and 95 % interval, {board.seed_count}" if len(board.seeds) > 1 else ""
    axes[0].set_ylabel(f"test accuracy (%){spread}")
    figure.suptitle(escape_mathtext(f"{board.title}\n{board.network}"))
    return encode_png(figure)


def accuracy_flops_figures(boards: Sequence[Leaderboard], styles: SeriesStyles) -> list[PageFigure]:
    """Charts for the page of the last two stages, the last one first."""
    return [_figure(boards, data) for data in reversed(accuracy_flops(boards, styles)[-2:])]


def _figure(boards: Sequence[Leaderboard], data: AccuracyFlops) -> PageFigure:
    known = [series for series in data.series if series.x]
    traces = [scatter(series, mode="lines+markers" if len(series.x) > 1 else "markers") for series in known]
    if data.stage == "fine-tuned":
        traces += _as_published(boards[0])
    base, line = 100 * data.base.mean, {"color": "var(--soft)", "width": 1, "dash": "dot"}
    layout = chart_layout(
        height_for(len(known)),
        x="MFLOPs of one image",
        y=f"test accuracy, {data.stage} (%)",
        shapes=[{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": base, "y1": base, "line": line}],
        annotations=[
            {
                "xref": "paper",
                "x": 0.01,
                "y": base,
                "xanchor": "left",
                "yanchor": "bottom",
                "text": f"base {format_percent(data.base)} %",
                "showarrow": False,
                "font": {"size": 11, "color": "var(--soft)"},
            }
        ],
    )
    layout["xaxis"]["range"], layout["yaxis"]["range"] = list(data.x_limits), list(data.y_limits)
    return page_figure(
        traces,
        layout,
        title=f"Accuracy over FLOPs, {data.stage}",
        note=f"{INTERVALS} Click a name to hide it, drag to zoom.",
        alt=f"accuracy over FLOPs, {data.stage}, for {len(known)} criteria; the tables contain the numbers",
    )


def _as_published(board: Leaderboard) -> list[Any]:
    """Results of papers, hidden until they are asked for, at the FLOPs that they would have if counted as ours."""
    network = published(board.setup.conditions)
    known = [each for each in network.results if each.accuracy and each.flops_reduction] if network else []
    if not known:
        return []
    base = board.rows[0].base_flops / 1e6
    return [
        go.Scatter(
            name="as published",
            visible="legendonly",
            mode="markers",
            marker={"symbol": "star-open", "size": 11, "color": "var(--soft)"},
            x=[base * (1 - (each.flops_reduction or 0) / 100) for each in known],
            y=[each.accuracy for each in known],
            hoverinfo="text",
            hovertext=[
                f"<i>{escape_html(each.method)}, as published</i><br>{each.accuracy} %<br>{escape_html(each.source)}"
                for each in known
            ],
        )
    ]
