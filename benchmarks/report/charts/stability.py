"""Agreement of selections over numbers of calibration images, over calibration samples, and by layer."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.agreement import Agreement
from ..data.stability import CriterionStability, StabilityReport
from ..formatting import escape_html
from .interactive import PageFigure, chart_layout, heatmap, height_for, layer_axis, name_axis, page_figure, scatter
from .png import draw_series, encode_png, escape_mathtext, legend_below, new_figure
from .series import Grid, Series
from .style import SeriesStyles

_TITLE = "IoU of the removed channels"


def sample_series(report: StabilityReport, styles: SeriesStyles) -> list[tuple[Series, Series]]:
    """For each criterion the agreement between calibration samples over their size, and the same by chance."""
    found = []
    rows = {row.criterion: row for board in report.boards for row in board.rows}
    for criterion in report.criteria:
        known = {count: each for count, each in criterion.between_samples.items() if each}
        if not known:
            continue
        name = f"<b>{escape_html(criterion.criterion)}</b>"
        hover = tuple(f"{name}<br>{n} images<br>{_hover(each)}<br>{each.pairs} pairs" for n, each in known.items())
        overlaps, chances = (
            Series(
                name=criterion.criterion,
                style=styles(rows[criterion.criterion]),
                x=tuple(known),
                y=values,
                hover=hover,
            )
            for values in (
                tuple(each.overlap for each in known.values()),
                tuple(each.chance for each in known.values()),
            )
        )
        found.append((overlaps, chances))
    return found


def samples_by_layer_grid(report: StabilityReport) -> Grid:
    """Agreement between the largest calibration samples by criterion and layer, the first criterion at the bottom."""
    found = [
        (criterion.criterion, each)
        for criterion in reversed(report.criteria)
        if (each := criterion.between_samples.get(report.counts[-1]))
    ]
    return _by_layer([name for name, _ in found], [each for _, each in found], report.layers)


def counts_grid(report: StabilityReport, criterion: CriterionStability) -> Grid:
    """One criterion's agreement between all pairs of numbers of images of one calibration sample."""
    counts, name = report.counts, f"<b>{escape_html(criterion.criterion)}</b>"
    found = [[(a, b, criterion.between_counts.get((min(a, b), max(a, b)))) for b in counts] for a in counts]
    return Grid(
        rows=tuple(map(str, counts)),
        columns=tuple(map(str, counts)),
        values=tuple(tuple(each.overlap if each else None for *_, each in line) for line in found),
        hover=tuple(
            tuple(f"{name}<br>{a} and {b} images<br>{_hover(each)}" if each else "" for a, b, each in line)
            for line in found
        ),
    )


def counts_by_layer_grid(report: StabilityReport, criterion: CriterionStability) -> Grid:
    """One criterion's agreement with its choice on the most images, by number of images and layer."""
    found = report.against_most(criterion)
    layers = tuple(dict.fromkeys(layer for each in found.values() for layer in each.by_layer))
    return _by_layer([f"{count}" for count in found], list(found.values()), layers)


def _by_layer(names: Sequence[str], found: Sequence[Agreement], layers: tuple[str, ...]) -> Grid:
    cells = [[each.by_layer.get(layer) for layer in layers] for each in found]
    return Grid(
        rows=tuple(names),
        columns=layers,
        values=tuple(tuple(cell[0] if cell else None for cell in line) for line in cells),
        hover=tuple(
            tuple(
                f"<b>{escape_html(name)}</b><br>{escape_html(layer)}<br>{_pair(*cell)}" if cell else ""
                for layer, cell in zip(layers, line, strict=True)
            )
            for name, line in zip(names, cells, strict=True)
        ),
    )


def stability_png(report: StabilityReport, styles: SeriesStyles) -> bytes:
    """A PNG of agreement between calibration samples of as many images, with chance as dotted lines."""
    series = sample_series(report, styles)
    figure = new_figure(10, 5.4, names=len(series))
    axes = figure.subplots()
    for overlaps, chances in series:
        draw_series(axes, overlaps, linestyle="-")
        axes.plot(chances.x, chances.y, color=chances.style.color, linestyle=":", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xticks(report.counts, list(map(str, report.counts)))
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("calibration images")
    axes.set_ylabel(f"{_TITLE}, mean over layers\n(dotted: random selections of these sizes)")
    axes.grid(alpha=0.3)
    legend_below(figure, axes)
    samples = f"mean over pairs of {len(report.samples)} calibration samples of equal size"
    figure.suptitle(escape_mathtext(f"{report.title}\n{report.boards[0].network}: {samples}"))
    return encode_png(figure)


def stability_figures(report: StabilityReport, styles: SeriesStyles) -> list[PageFigure]:
    """Other images first, then for each criterion two maps of more and fewer: by number of images, and by layer."""
    found = [_samples(report, styles), _samples_by_layer(report)]
    for criterion in report.criteria:
        found += [_counts(report, criterion), _counts_by_layer(report, criterion)]
    return [each for each in found if each is not None]


def _samples(report: StabilityReport, styles: SeriesStyles) -> PageFigure | None:
    series = sample_series(report, styles)
    if not series:
        return None
    traces = []
    for group, (overlaps, chances) in enumerate(series):
        # As names: evenly spaced whatever the numbers are.
        x = [str(count) for count in overlaps.x]
        dotted = {"color": chances.style.css_color, "width": 1, "dash": "dot"}
        traces.append(scatter(overlaps, mode="lines+markers", x=x, legendgroup=group))
        traces.append(scatter(chances, mode="lines", x=x, legendgroup=group, line=dotted, showlegend=False))
    layout = chart_layout(height_for(len(series)), x="calibration images", y=_TITLE)
    layout["xaxis"].update(
        type="category", categoryorder="array", categoryarray=[str(count) for count in report.counts]
    )
    layout["yaxis"]["range"] = [0, 1.03]
    note = "Between calibration samples of as many images, mean over layers and pairs; dotted: random selections."
    return page_figure(traces, layout, title="Agreement on other images", note=note)


def _samples_by_layer(report: StabilityReport) -> PageFigure | None:
    note = f"Between calibration samples of {report.counts[-1]} images; layers from input to output."
    return _layer_map(samples_by_layer_grid(report), "Agreement on other images, by layer", note, is_wide=True)


def _counts(report: StabilityReport, criterion: CriterionStability) -> PageFigure | None:
    grid = counts_grid(report, criterion)
    if not any(grid.values[i][j] is not None for i in range(len(grid.rows)) for j in range(i)):
        return None
    layout = chart_layout(360, x="calibration images", y="calibration images")
    layout["xaxis"].update(name_axis(grid.columns))
    layout["yaxis"].update(name_axis(grid.rows), autorange="reversed")
    title = f"{criterion.criterion}: agreement between numbers of images"
    note = "Same calibration sample, of which fewer or more images are used; mean over layers and samples."
    return page_figure([_heatmap(grid, text=".2f")], layout, title=title, note=note)


def _counts_by_layer(report: StabilityReport, criterion: CriterionStability) -> PageFigure | None:
    note = f"With the choice on {report.counts[-1]} images of the same calibration sample."
    grid = counts_by_layer_grid(report, criterion)
    return _layer_map(grid, f"{criterion.criterion}: agreement by layer", note, y="calibration images")


def _layer_map(grid: Grid, title: str, note: str, *, y: str = "", is_wide: bool = False) -> PageFigure | None:
    if not grid.rows or not grid.columns:
        return None
    layout = chart_layout(height_for(len(grid.rows), least=360), y=y)
    layout["xaxis"].update(layer_axis(grid.columns))
    layout["yaxis"].update(name_axis(grid.rows))
    return page_figure([_heatmap(grid)], layout, title=title, note=note, is_wide=is_wide)


def _heatmap(grid: Grid, text: str | None = None) -> object:
    return heatmap(grid, text=text, zmin=0, zmax=1, colorbar={"title": {"text": "IoU"}, "thickness": 12})


def _hover(each: Agreement) -> str:
    return _pair(each.overlap, each.chance)


def _pair(overlap: float, chance: float) -> str:
    return f"IoU {overlap:.3f}, by chance {chance:.3f}"
