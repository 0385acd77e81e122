"""Widths and accuracy over the parameters of the published rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..data.estimates import Estimate
from ..data.leaderboard import Leaderboard, Row
from ..formatting import format_percent
from .interactive import INTERVALS, PageFigure, chart_layout, heatmap, height_for, page_figure, scatter
from .png import GREY, draw_series, encode_png, escape_mathtext, legend_below, new_figure
from .series import Grid, Series
from .style import SeriesStyle, hover_text, percent_limits, row_key


@dataclass(frozen=True)
class AblationPanel:
    """One measurement over s, with a line for each t.

    Attributes:
        title: what it is, with its unit.
        series: x is s and y the measurement.
        limits: limits of y; None where an accuracy is not what it shows.
    """

    title: str
    series: tuple[Series, ...]
    limits: tuple[float, float] | None


def ablation_panels(board: Leaderboard) -> list[AblationPanel]:
    """Channels kept, FLOPs and all accuracies that were measured, over s."""
    panels = []
    if any(row.channels_kept for row in board.rows):
        panels.append(_panel(board, "channels kept", lambda row: row.channels_kept, 1))
    panels.append(_panel(board, "MFLOPs of one image", lambda row: row.flops, 1e-6))
    for stage in board.stages:
        values = [board.rows[0].base, *(row.stages.get(stage) for row in board.rows)]
        panels.append(_panel(board, f"accuracy, {stage} (%)", _at(stage), 100, percent_limits(values)))
    return panels


def _at(stage: str) -> Callable[[Row], Estimate | None]:
    return lambda row: row.stages.get(stage)


def _panel(
    board: Leaderboard,
    title: str,
    value: Callable[[Row], Estimate | None],
    factor: float,
    limits: tuple[float, float] | None = None,
) -> AblationPanel:
    series = []
    for number, (t, rows) in enumerate(_by_t(board.rows).items()):
        points = [(row.rule.threshold, found) for row in rows if row.rule and (found := value(row))]
        series.append(
            Series(
                name=f"t = {t}",
                style=SeriesStyle(number),
                x=tuple(s for s, _ in points),
                y=tuple(factor * found.mean for _, found in points),
                y_margin=tuple(factor * (found.margin or 0) for _, found in points),
            )
        )
    return AblationPanel(title, tuple(series), limits)


def _by_t(rows: Sequence[Row]) -> dict[int, list[Row]]:
    ruled = [(row.rule, row) for row in rows if row.rule]
    found: dict[int, list[Row]] = {}
    for rule, row in sorted(ruled, key=lambda pair: (pair[0].neighbors, pair[0].threshold)):
        found.setdefault(rule.neighbors, []).append(row)
    return found


def ablation_png(board: Leaderboard) -> bytes:
    """A PNG of all panels."""
    panels = ablation_panels(board)
    figure = new_figure(11, 8.2 if len(panels) > 2 else 4.6, names=len(panels[0].series))
    grid = figure.subplots((len(panels) + 1) // 2, 2, squeeze=False).flatten()
    for place, panel in zip(grid, panels, strict=False):
        for series in panel.series:
            draw_series(place, series, linestyle="-")
        if panel.limits:
            place.set_ylim(*panel.limits)
            place.axhline(100 * board.rows[0].base.mean, color=GREY, linewidth=0.8, linestyle=":")
        place.set_xlabel("s, the least similarity of a removed channel")
        place.set_ylabel(panel.title)
        place.grid(alpha=0.3)
    for place in grid[len(panels) :]:
        place.set_axis_off()
    legend_below(figure, grid[0])
    dotted = "dotted: base model" if len(board.seeds) < 2 else "bars: 95 % interval; dotted: base model"
    figure.suptitle(escape_mathtext(f"{board.title}\n{board.network} ({dotted})"))
    return encode_png(figure)


def ablation_figures(board: Leaderboard) -> list[PageFigure]:
    """Accuracy over FLOPs, then maps of accuracy, FLOPs, parameters and channels over t and s.

    Criteria that differ in more than t and s, such as compensation, have figures of their own.
    """
    kinds: dict[tuple[str, str | None], list[Row]] = {}
    for row in board.rows:
        if row.rule is not None:
            kinds.setdefault((row.runs[0].inputs.criterion.name, row.compensate), []).append(row)
    found: list[PageFigure] = []
    for (name, compensate), rows in kinds.items():
        compensated = f" with {compensate.replace('_', ' ')}" if compensate else ""
        prefix = f"{name}{compensated}: " if len(kinds) > 1 else ""
        found.append(_over_flops(board, rows, prefix))
        found += [_map(grid, f"{prefix}{title}") for title, grid in ablation_grids(board, rows).items()]
    return found


def _over_flops(board: Leaderboard, rows: Sequence[Row], prefix: str) -> PageFigure:
    series = []
    for number, (t, line) in enumerate(_by_t(rows).items()):
        ordered = sorted(line, key=lambda row: row.flops.mean)
        series.append(
            Series(
                name=f"t={t}",
                style=SeriesStyle(number),
                x=tuple(row.flops.mean / 1e6 for row in ordered),
                y=tuple(100 * row.last.mean for row in ordered),
                y_margin=tuple(100 * (row.last.margin or 0) for row in ordered),
                hover=tuple(hover_text(board, row) for row in ordered),
                rows=tuple(row_key(board, row) for row in ordered),
            )
        )
    layout = chart_layout(400, x="MFLOPs of one image", y=f"test accuracy, {rows[0].last_stage} (%)")
    layout["yaxis"]["range"] = list(percent_limits([row.last for row in rows]))
    base = format_percent(rows[0].base)
    traces = [scatter(one, mode="lines+markers") for one in series]
    note = f"A point for each s. {INTERVALS} The base model has {base} %."
    return page_figure(traces, layout, title=f"{prefix}accuracy over FLOPs", note=note)


def ablation_grids(board: Leaderboard, rows: Sequence[Row]) -> dict[str, Grid]:
    """By title: a row for each t and a column for each s, mean over seeds in percent."""
    values: dict[str, Callable[[Row], float | None]] = {
        f"accuracy, {rows[0].last_stage} (%)": lambda row: row.last.mean,
        "FLOPs kept (%)": lambda row: 1 - row.flops_reduction.mean,
        "parameters kept (%)": lambda row: 1 - row.params_reduction.mean,
        "channels kept (%)": _channels,
    }
    by_rule = {(row.rule.neighbors, row.rule.threshold): row for row in rows if row.rule}
    ts, ss = sorted({t for t, _ in by_rule}), sorted({s for _, s in by_rule})
    found = {}
    for title, value in values.items():
        shares = {rule: share for rule, row in by_rule.items() if (share := value(row)) is not None}
        if shares:
            percents = {rule: 100 * share for rule, share in shares.items()}
            found[title] = Grid(
                rows=tuple(map(str, ts)),
                columns=tuple(f"{s:g}" for s in ss),
                values=tuple(tuple(percents.get((t, s)) for s in ss) for t in ts),
                hover=tuple(
                    tuple(hover_text(board, by_rule[t, s]) if (t, s) in by_rule else "" for s in ss) for t in ts
                ),
            )
    return found


def _channels(row: Row) -> float | None:
    return row.channels_kept.mean / row.channels if row.channels_kept and row.channels else None


def _map(grid: Grid, title: str) -> PageFigure:
    # Positions are names: evenly spaced whatever the values are.
    trace = heatmap(grid, text=".1f", x=list(grid.columns), y=list(grid.rows))
    layout = chart_layout(height_for(len(grid.rows), least=0) + 100, x="threshold s", y="neighbors t")
    for axis in ("xaxis", "yaxis"):
        layout[axis].update(type="category", showgrid=False)
    return page_figure([trace], layout, title=title, note="Mean over seeds.")
