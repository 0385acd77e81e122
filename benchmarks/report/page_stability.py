"""How far a criterion chooses the same channels on more, fewer and other images."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import plotly.graph_objects as go

from ..records import RunRecord
from .board import Leaderboard
from .page_looks import Figure, bare_layout, figure, plain, stacked_height

__all__ = ["Agreement", "agreements", "layer_iou", "stability_figures"]


@dataclass(frozen=True)
class Agreement:
    """Mean IoU over layers of what one entry removes in two runs.

    Attributes:
        criterion: its title.
        key: tells entries apart that share a title.
        runs: by number of images and seed.
        counts: numbers of images, ascending.
        more: by number of images, IoU with the run of the same seed on the most images, mean over seeds.
        other: by number of images, IoU between runs of different seeds, which see different images, mean over pairs.
    """

    criterion: str
    key: str
    runs: Mapping[tuple[int, int], RunRecord]
    counts: tuple[int, ...]
    more: Mapping[int, float]
    other: Mapping[int, float]


def layer_iou(one: RunRecord, other: RunRecord) -> dict[str, float]:
    """Intersection over union of the channels that two runs remove, by layer at the root of a coupled group.

    1 is the same choice, 0 no channel in common; layers of which neither removes a channel agree.
    """
    first, second = one.removed or {}, other.removed or {}
    result = {}
    for layer in dict.fromkeys((*first, *second)):
        a, b = set(first.get(layer, ())), set(second.get(layer, ()))
        result[layer] = len(a & b) / len(a | b) if a | b else 1.0
    return result


def agreements(boards: Sequence[Leaderboard]) -> list[Agreement]:
    """One for each entry of a study, most stable first: by agreement on other images, at the most images there are.

    Args:
        boards: that differ in the number of calibration images alone.
    """
    by_entry: dict[str, dict[tuple[int, int], RunRecord]] = {}
    for board in boards:
        for row in board.rows:
            for run in row.runs:
                if run.removed is not None:
                    place = (board.setup.conditions.calibration_images, run.inputs.seed)
                    by_entry.setdefault(run.inputs.criterion.model_dump_json(), {})[place] = run
    found = [_agreement(key, dict(sorted(runs.items()))) for key, runs in by_entry.items()]
    return sorted(found, key=lambda each: (-_first(reversed(each.other.values())), each.criterion, each.key))


def _agreement(key: str, runs: Mapping[tuple[int, int], RunRecord]) -> Agreement:
    counts = tuple(sorted({count for count, _ in runs}))
    seeds = {count: [seed for each, seed in runs if each == count] for count in counts}
    more = {
        count: [_mean(runs[count, seed], runs[counts[-1], seed]) for seed in seeds[count] if (counts[-1], seed) in runs]
        for count in counts[:-1]
    }
    other = {
        count: [_mean(runs[count, a], runs[count, b]) for a, b in combinations(seeds[count], 2)] for count in counts
    }
    return Agreement(
        criterion=next(iter(runs.values())).inputs.criterion.title,
        key=key,
        runs=runs,
        counts=counts,
        more={count: statistics.fmean(values) for count, values in more.items() if values},
        other={count: statistics.fmean(values) for count, values in other.items() if values},
    )


def _mean(one: RunRecord, other: RunRecord) -> float:
    return statistics.fmean(layer_iou(one, other).values() or (1.0,))


def _first(values: Iterable[float]) -> float:
    return next(iter(values), 0.0)


def stability_figures(found: Sequence[Agreement]) -> list[Figure]:
    """For each entry a heat map of all pairs of runs, and one of layers and numbers of images."""
    return [each for one in found for each in (_runs(one), _layers(one)) if each is not None]


def _runs(agreement: Agreement) -> Figure | None:
    runs = list(agreement.runs.items())
    if len(runs) < 2:
        return None
    names = [f"{count} · {seed}" for (count, seed), _ in runs]
    values = [[_mean(one, other) for _, other in runs] for _, one in runs]
    told = [
        [f"{_place(a)}<br>{_place(b)}<br>IoU {value:.3f}" for (b, _), value in zip(runs, line, strict=True)]
        for (a, _), line in zip(runs, values, strict=True)
    ]
    layout = bare_layout(440)
    for axis in ("xaxis", "yaxis"):
        layout[axis].update(_ticks(names), showgrid=False)
        layout[axis]["title"]["text"] = "images · seed"
    layout["yaxis"].update(autorange="reversed")
    layout["xaxis"].update(tickangle=-60)
    return figure(
        [_heat(values, told)],
        layout,
        title=f"{agreement.criterion}: agreement of runs",
        note="IoU of the removed channels, mean over layers, for every pair of runs.",
    )


def _layers(agreement: Agreement) -> Figure | None:
    """IoU per layer of the runs on fewer images with that on the most, same seed."""
    most = agreement.counts[-1]
    pairs = {
        count: [
            layer_iou(run, agreement.runs[most, seed])
            for (each, seed), run in agreement.runs.items()
            if each == count and (most, seed) in agreement.runs
        ]
        for count in agreement.counts[:-1]
    }
    pairs = {count: found for count, found in pairs.items() if found}
    layers = list(dict.fromkeys(layer for found in pairs.values() for pair in found for layer in pair))
    if not layers:
        return None
    # A network's order is that of its widths, which groups in the record need not have.
    order = list(next(iter(agreement.runs.values())).before.widths)
    layers.sort(key=lambda layer: order.index(layer) if layer in order else len(order))
    values = [
        [statistics.fmean([pair.get(layer, 1.0) for pair in found]) for layer in layers] for found in pairs.values()
    ]
    told = [
        [
            f"{plain(layer)}<br>{count} against {most} images<br>IoU {value:.3f}"
            for layer, value in zip(layers, line, strict=True)
        ]
        for count, line in zip(pairs, values, strict=True)
    ]
    layout = bare_layout(stacked_height(len(pairs)) + 130)
    layout["xaxis"].update(_ticks([str(place) for place in range(1, len(layers) + 1)]), showgrid=False)
    layout["xaxis"]["title"]["text"] = "layer, from input to output"
    layout["yaxis"].update(_ticks([str(count) for count in pairs]), showgrid=False)
    layout["yaxis"]["title"]["text"] = "images"
    return figure(
        [_heat(values, told)],
        layout,
        title=f"{agreement.criterion}: agreement by layer",
        note=f"IoU of the channels removed on fewer images with those on {most}, same seed; mean over seeds.",
    )


def _heat(values: Sequence[Sequence[float]], told: Sequence[Sequence[str]]) -> Any:
    places = {"x": list(range(len(values[0]))), "y": list(range(len(values)))}
    bar = {"title": {"text": "IoU"}, "thickness": 12}
    look = {"zmin": 0, "zmax": 1, "colorscale": "Viridis", "xgap": 1, "ygap": 1, "colorbar": bar}
    return go.Heatmap(z=values, text=told, hoverinfo="text", **places, **look)


def _place(run: tuple[int, int]) -> str:
    return f"{run[0]} images, seed {run[1]}"


def _ticks(names: Sequence[str]) -> dict[str, Any]:
    return {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": list(names)}
