"""Agreement of selections as maps and lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ..data.agreement import Agreement
from ..data.stability import Stability, Study
from .style import (
    SHADES,
    PageFigure,
    bare_layout,
    brief,
    figure,
    ink,
    layer_ticks,
    legend_below,
    new_figure,
    numbered_marker,
    plain,
    png,
    series_look,
    short_names,
    spelled,
    stacked_height,
    ticks,
)

__all__ = ["against_most", "agreement_by_layer", "agreement_over_counts", "agreement_over_draws", "stability_figures"]

_ACROSS = 4


def agreement_over_counts(study: Study) -> bytes:
    """A PNG with a map for each criterion: agreement between numbers of calibration images of one draw."""
    across = min(_ACROSS, len(study.criteria))
    down = math.ceil(len(study.criteria) / across)
    figure = new_figure(max(3.1 * across + 1, 7), 3.3 * down + 0.9)
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    image = None
    for place, criterion in zip(axes, study.criteria, strict=False):
        image = _map(place, study, criterion)
    for place in axes[len(study.criteria) :]:
        place.set_axis_off()
    if image is not None:
        figure.colorbar(image, ax=axes, label="IoU of removed channels, mean over layers", shrink=0.8)
    _title(figure, study, f"same draw, more or fewer images, mean over draws: {len(study.draws)}")
    return png(figure)


def agreement_over_draws(study: Study) -> bytes:
    """A PNG of agreement between draws of as many images, a line a criterion, with chance as a dotted line."""
    figure = new_figure(10, 5.4, entries=len(study.criteria))
    axes = figure.subplots()
    for number, criterion in enumerate(study.criteria):
        look = series_look(number)
        found = {count: one for count, one in criterion.between_draws.items() if one}
        axes.plot(
            list(found),
            [one.overlap for one in found.values()],
            color=look.color,
            marker=look.marker,
            linestyle=look.line,
            label=spelled(criterion.criterion),
        )
        axes.plot(list(found), [one.chance for one in found.values()], color=look.color, linestyle=":", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xticks(study.counts, list(map(str, study.counts)))
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("calibration images")
    axes.set_ylabel("IoU of removed channels, mean over layers\n(dotted: random selections of these sizes)")
    axes.grid(alpha=0.3)
    legend_below(figure, axes)
    _title(figure, study, f"different draws of as many images, mean over pairs of {len(study.draws)}")
    return png(figure)


def agreement_by_layer(study: Study) -> bytes:
    """A PNG of agreement between draws by layer, at the largest number of images."""
    layers, count = study.layers, study.counts[-1]
    found = [criterion.between_draws.get(count) for criterion in study.criteria]
    missing = (math.nan, math.nan)
    shares = [[one.by_layer.get(layer, missing)[0] if one else math.nan for layer in layers] for one in found]
    figure = new_figure(max(7, 3.2 + 0.36 * len(layers)), 3.2 + 0.3 * len(shares))
    axes = figure.subplots()
    image = axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(shares)), [spelled(criterion.criterion) for criterion in study.criteria])
    axes.set_xticks(range(len(layers)), short_names(layers), rotation=90, fontsize=8)
    _write(axes, shares, ".2f", 6)
    figure.colorbar(image, ax=axes, label="IoU of removed channels", pad=0.01)
    axes.set_xlabel("layer")
    _title(figure, study, f"different draws of {count} images, mean over pairs of draws")
    return png(figure)


def _map(axes: Axes, study: Study, criterion: Stability) -> AxesImage:
    def value(first: int, second: int) -> float:
        found = criterion.between_counts.get((min(first, second), max(first, second)))
        return found.overlap if found else math.nan

    shares = [[value(first, second) for second in study.counts] for first in study.counts]
    image = axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1)
    ticks = range(len(study.counts)), list(map(str, study.counts))
    axes.set_xticks(*ticks, fontsize=8)
    axes.set_yticks(*ticks, fontsize=8)
    _write(axes, shares, ".2f", 7)
    chances = [found.chance for pair, found in criterion.between_counts.items() if found and pair[0] != pair[1]]
    chance = f"\nchance {min(chances):.2f} to {max(chances):.2f}" if chances else ""
    if chances and f"{min(chances):.2f}" == f"{max(chances):.2f}":
        chance = f"\nchance {chances[0]:.2f}"
    axes.set_title(f"{spelled(criterion.criterion)}{chance}", fontsize=10)
    axes.set_xlabel("calibration images", fontsize=8)
    return image


def _write(axes: Axes, shares: list[list[float]], form: str, size: int) -> None:
    for y, row in enumerate(shares):
        for x, share in enumerate(row):
            if not math.isnan(share):
                axes.text(x, y, f"{share:{form}}", ha="center", va="center", fontsize=size, color=ink(share))


def _title(figure: Figure, study: Study, what: str) -> None:
    conditions = study.setup.conditions
    figure.suptitle(spelled(f"{study.title}\n{conditions.model.name} on {conditions.dataset.name}: {what}"))


def against_most(criterion: Stability, study: Study) -> dict[int, Agreement]:
    """By number of images, the agreement with what the same draw chooses on the most images of the study."""
    most = study.counts[-1]
    found = {count: criterion.between_counts.get((count, most)) for count in study.counts[:-1]}
    return {count: each for count, each in found.items() if each}


def stability_figures(study: Study) -> list[PageFigure]:
    """Other images first, then for each criterion two maps of more and fewer: by number of images, and by layer."""
    found = [_draws(study), _draws_by_layer(study)]
    for criterion in study.criteria:
        found += [_counts(study, criterion), _counts_by_layer(study, criterion)]
    return [each for each in found if each is not None]


def _draws(study: Study) -> PageFigure | None:
    """Agreement over numbers of images, with chance as a dotted line."""
    traces = []
    for number, criterion in enumerate(study.criteria):
        found = {str(count): each for count, each in criterion.between_draws.items() if each}
        if not found:
            continue
        name, marker = plain(criterion.criterion), numbered_marker(number)
        told = [
            f"<b>{name}</b><br>{count} images<br>{_told(each.overlap, each.chance)}<br>{each.pairs} pairs of draws"
            for count, each in found.items()
        ]
        look: dict[str, Any] = {
            "name": brief(criterion.criterion),
            "legendgroup": number,
            "hoverinfo": "text",
            "hovertext": told,
        }
        line = {"color": marker["color"], "width": 1.5}
        values = [each.overlap for each in found.values()]
        traces.append(go.Scatter(x=list(found), y=values, mode="lines+markers", marker=marker, line=line, **look))
        by_chance = [each.chance for each in found.values()]
        dotted = {**line, "width": 1, "dash": "dot"}
        traces.append(go.Scatter(x=list(found), y=by_chance, mode="lines", line=dotted, showlegend=False, **look))
    if not traces:
        return None
    layout = bare_layout(max(360, 150 + 20 * len(study.criteria)))
    layout["xaxis"].update(type="category", categoryorder="array", categoryarray=[str(count) for count in study.counts])
    layout["xaxis"]["title"]["text"] = "calibration images"
    layout["yaxis"]["range"] = [0, 1.03]
    layout["yaxis"]["title"]["text"] = "IoU of the removed channels"
    note = "Between different draws of as many images, mean over layers and pairs; dotted: random selections."
    return figure(traces, layout, title="Agreement on other images", note=note)


def _draws_by_layer(study: Study) -> PageFigure | None:
    count, layers = study.counts[-1], study.layers
    found = {
        criterion.criterion: each
        for criterion in reversed(study.criteria)
        if (each := criterion.between_draws.get(count))
    }
    if not found or not layers:
        return None
    rows = [[each.by_layer.get(layer) for layer in layers] for each in found.values()]
    words = [[f"<b>{plain(name)}</b><br>{plain(layer)}" for layer in layers] for name in found]
    layout = bare_layout(stacked_height(len(found)) + 70)
    layout["xaxis"].update(layer_ticks(layers))
    layout["yaxis"].update(ticks(list(found)))
    note = f"Between different draws of {count} images; layers from input to output."
    return figure([_heat(rows, words)], layout, title="Agreement on other images, by layer", note=note, is_wide=True)


def _counts(study: Study, criterion: Stability) -> PageFigure | None:
    """The map of all pairs of numbers of images of one draw."""
    counts = study.counts
    found = [[criterion.between_counts.get((min(a, b), max(a, b))) for b in counts] for a in counts]
    if not any(found[i][j] for i in range(len(counts)) for j in range(i)):
        return None
    rows = [[(each.overlap, each.chance) if each else None for each in line] for line in found]
    words = [[f"<b>{plain(criterion.criterion)}</b><br>{a} and {b} images" for b in counts] for a in counts]
    layout = bare_layout(360)
    layout["xaxis"].update(ticks([str(count) for count in counts]))
    layout["xaxis"]["title"]["text"] = "calibration images"
    layout["yaxis"].update(ticks([str(count) for count in counts]), autorange="reversed")
    layout["yaxis"]["title"]["text"] = "calibration images"
    title = f"{criterion.criterion}: agreement between numbers of images"
    return figure(
        [_heat(rows, words, is_written=True)], layout, title=title, note="Same draw; mean over layers and draws."
    )


def _counts_by_layer(study: Study, criterion: Stability) -> PageFigure | None:
    found = against_most(criterion, study)
    layers = list(dict.fromkeys(layer for each in found.values() for layer in each.by_layer))
    if not layers:
        return None
    most = study.counts[-1]
    rows = [[each.by_layer.get(layer) for layer in layers] for each in found.values()]
    words = [[f"{plain(layer)}<br>{count} and {most} images" for layer in layers] for count in found]
    layout = bare_layout(360)
    layout["xaxis"].update(layer_ticks(layers))
    layout["yaxis"].update(ticks([str(count) for count in found]))
    layout["yaxis"]["title"]["text"] = "calibration images"
    title = f"{criterion.criterion}: agreement by layer"
    return figure([_heat(rows, words)], layout, title=title, note=f"With the choice on {most} images of the same draw.")


def _heat(
    rows: Sequence[Sequence[tuple[float, float] | None]], words: Sequence[Sequence[str]], *, is_written: bool = False
) -> Any:
    """A map of IoU, where hovering tells that of chance too."""
    told = [
        [f"{word}<br>{_told(*each)}" if each else "" for each, word in zip(*line, strict=True)]
        for line in zip(rows, words, strict=True)
    ]
    written = [[f"{each[0]:.2f}" if each else "" for each in line] for line in rows]
    return go.Heatmap(
        z=[[each[0] if each else None for each in line] for line in rows],
        # By place, as names can be equal.
        x=list(range(len(rows[0]))),
        y=list(range(len(rows))),
        hoverinfo="text",
        hovertext=told,
        hoverongaps=False,
        **({"text": written, "texttemplate": "%{text}"} if is_written else {}),
        zmin=0,
        zmax=1,
        colorscale="Cividis",
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "IoU"}, "thickness": 12},
    )


def _told(overlap: float, chance: float) -> str:
    return f"IoU {overlap:.3f}, by chance {chance:.3f}"
