"""Agreement of selections as maps and lines."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from .looks import SHADES, legend_below, new_figure, png, series_look, spelled
from .plot_widths import ink, short_names
from .stability import Stability, Study

__all__ = ["agreement_by_layer", "agreement_over_counts", "agreement_over_draws"]

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
            color=look.colour,
            marker=look.marker,
            linestyle=look.line,
            label=spelled(criterion.criterion),
        )
        axes.plot(list(found), [one.chance for one in found.values()], color=look.colour, linestyle=":", linewidth=1)
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
