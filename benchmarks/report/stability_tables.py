"""Agreement of selections in numbers."""

from __future__ import annotations

from typing import Any

from .agreement import Agreement
from .csv_files import figures, write_csv
from .stability import Stability, Study
from .tables import draw

__all__ = ["counts_table", "draws_table", "layers_table", "stability_csv"]


def draws_table(study: Study, style: str = "simple") -> str:
    """Agreement between draws, with chance in brackets, by number of images."""
    columns = ["criterion", *(f"{count} images" for count in study.counts)]
    rows = [[c.criterion, *(_cell(c.between_draws.get(count)) for count in study.counts)] for c in study.criteria]
    return draw(columns, rows, style)


def counts_table(study: Study, criterion: Stability, style: str = "simple") -> str:
    """One criterion's agreement between numbers of images of one draw, with chance in brackets."""
    rows = [
        [
            f"{first} images",
            *(_cell(criterion.between_counts.get((min(first, second), max(first, second)))) for second in study.counts),
        ]
        for first in study.counts
    ]
    return draw([criterion.criterion, *map(str, study.counts)], rows, style)


def layers_table(study: Study, style: str = "simple") -> str:
    """Agreement between draws by layer, at the largest number of images, with chance in brackets."""
    count = study.counts[-1]
    found = [criterion.between_draws.get(count) for criterion in study.criteria]
    rows = [
        [layer, *("" if one is None or layer not in one.by_layer else _pair(*one.by_layer[layer]) for one in found)]
        for layer in study.layers
    ]
    return draw(["layer", *(criterion.criterion for criterion in study.criteria)], rows, style)


def stability_csv(all_studies: list[Study]) -> str:
    """A line for each comparison, the mean over layers first and then each layer."""
    lines: list[dict[str, Any]] = []
    for study in all_studies:
        for criterion in study.criteria:
            for (first, second), found in criterion.between_counts.items():
                lines += _lines(study, criterion, "numbers of images, same draw", (first, second), found)
            for count, found in criterion.between_draws.items():
                lines += _lines(study, criterion, "draws, same number of images", (count, count), found)
    return write_csv(lines)


def _lines(
    study: Study, criterion: Stability, compared: str, images: tuple[int, int], found: Agreement | None
) -> list[dict[str, Any]]:
    if found is None:
        return []
    layers = {"mean over layers": (found.overlap, found.chance), **found.by_layer}
    return [
        {
            "suite": study.setup.suite,
            "model": study.setup.conditions.model.name,
            "dataset": study.setup.conditions.dataset.name,
            "target": str(study.setup.conditions.target),
            "ranking": study.setup.ranking,
            "setup": study.setup.key[:16],
            "criterion": criterion.criterion,
            "compared": compared,
            "images of the first": images[0],
            "images of the second": images[1],
            "layer": layer,
            "pairs of runs": found.pairs,
            "IoU of removed channels, mean": figures(overlap),
            "IoU of random selections of these sizes": figures(chance),
        }
        for layer, (overlap, chance) in layers.items()
    ]


def _cell(found: Agreement | None) -> str:
    return "" if found is None else _pair(found.overlap, found.chance)


def _pair(overlap: float, chance: float) -> str:
    return f"{overlap:.3f} ({chance:.3f})"
