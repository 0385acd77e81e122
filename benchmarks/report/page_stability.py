"""How far a criterion chooses the same channels on more, fewer and other images: heat maps and lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from .agreement import Agreement
from .page_looks import Figure, bare_layout, brief, figure, layer_ticks, numbered_marker, plain, stacked_height, ticks
from .stability import Stability, Study

__all__ = ["against_most", "stability_figures"]


def against_most(criterion: Stability, study: Study) -> dict[int, Agreement]:
    """By number of images, the agreement with what the same draw chooses on the most images of the study."""
    most = study.counts[-1]
    found = {count: criterion.between_counts.get((count, most)) for count in study.counts[:-1]}
    return {count: each for count, each in found.items() if each}


def stability_figures(study: Study) -> list[Figure]:
    """Other images first, then for each criterion two maps of more and fewer: by number of images, and by layer."""
    found = [_draws(study), _draws_by_layer(study)]
    for criterion in study.criteria:
        found += [_counts(study, criterion), _counts_by_layer(study, criterion)]
    return [each for each in found if each is not None]


def _draws(study: Study) -> Figure | None:
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


def _draws_by_layer(study: Study) -> Figure | None:
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


def _counts(study: Study, criterion: Stability) -> Figure | None:
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


def _counts_by_layer(study: Study, criterion: Stability) -> Figure | None:
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
