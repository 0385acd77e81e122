"""A study of stability's part of the report."""

from __future__ import annotations

from typing import Any

from ..charts.stability import agreement_by_layer, agreement_over_counts, agreement_over_draws
from ..data.agreement import Agreement
from ..data.stability import Stability, Study
from ..formatting import escaped
from .csv_files import figures, write_csv
from .notes import failed, origin, smoke
from .section import Section
from .tables import draw

__all__ = ["counts_table", "draws_table", "layers_table", "stability_csv", "stability_notes", "stability_section"]


def stability_section(study: Study, suffix: str = "") -> Section:
    """Tables, maps and notes of one study.

    Args:
        study: what to show.
        suffix: goes between the name of a plot and its ending.
    """
    plots = {f"stability_images{suffix}.png": ("agreement over numbers of images", agreement_over_counts(study))}
    if study.compares_draws:
        plots[f"stability_draws{suffix}.png"] = ("agreement over draws", agreement_over_draws(study))
        plots[f"stability_layers{suffix}.png"] = ("agreement over draws by layer", agreement_by_layer(study))
    loud = _loud(study)
    parts = [f"## {escaped(study.title)}", *(f"**{escaped(line)}**" for line in loud)]
    if study.compares_draws:
        parts += [_DRAWS, draws_table(study, "github")]
    parts += [f"![{title}]({name})" for name, (title, _) in plots.items()]
    parts.append("\n".join(f"- {escaped(note)}" for note in stability_notes(study)))
    parts += ["<details>\n<summary>Between numbers of images, same draw</summary>"]
    parts += [counts_table(study, criterion, "github") for criterion in study.criteria]
    parts += ["</details>"]
    if study.compares_draws:
        parts += ["<details>\n<summary>Between draws, by layer</summary>", layers_table(study, "github"), "</details>"]
    terminal = [study.title, *loud, draws_table(study)] if study.compares_draws else [study.title, *loud]
    terminal += [counts_table(study, criterion) for criterion in study.criteria]
    return Section(
        markdown="\n\n".join(parts) + "\n",
        terminal="\n\n".join([*terminal, "\n".join(stability_notes(study))]),
        files={name: png for name, (_, png) in plots.items()},
    )


_DRAWS = "Agreement between different draws of as many images; in brackets that of random selections of the same sizes:"


def _loud(study: Study) -> list[str]:
    lines = smoke(study.boards[0])
    lacking = {criterion.criterion: len(criterion.missing) for criterion in study.criteria if criterion.missing}
    if lacking:
        listed = ", ".join(f"{title} {count}" for title, count in lacking.items())
        lines.append(f"Runs are missing ({listed}): these means are over fewer pairs, and blank where there is none.")
    return lines + [line for board in study.boards for line in failed(board.failures)]


def stability_notes(study: Study) -> list[str]:
    """What a reader must know to judge a study of stability."""
    conditions = study.setup.conditions
    draws = ", ".join(map(str, study.draws))
    spared = (
        f" Layers that keep all their channels: {', '.join(conditions.ignored_layers)}."
        if conditions.ignored_layers
        else ""
    )
    return [
        "Agreement is the intersection over union (IoU, Jaccard index) of the channels that two runs remove: 1 is the "
        "same channels, 0 none in common. It is taken layer by layer, by the layer at the root of each coupled group, "
        "and averaged over layers, each of which counts alike. Where neither run removes a channel of a layer, that "
        "is full agreement.",
        "In brackets, and dotted: the expected IoU of two random selections of as many channels of each layer, exact, "
        "by the hypergeometric distribution. A criterion whose figure is near it chooses by the luck of the images.",
        f"Draws (seeds): {draws}. Of one draw the smaller set of images is the beginning of the larger, so that "
        "numbers of images are compared on nested sets; different draws share images only by chance.",
        f"{conditions.model.name} on {conditions.dataset.name}: {study.boards[0].train_images} training images to draw "
        f"from; target {conditions.target}.{spared}",
        *_by_rule(study),
        *_uncompared(study),
        *origin(study.boards[0]),
    ]


def _by_rule(study: Study) -> list[str]:
    """Which criteria end elsewhere than at the target."""
    rules = dict.fromkeys(row.criterion for board in study.boards for row in board.rows if row.rule)
    if not rules:
        return []
    return [f"{', '.join(rules)}: how many channels go is decided by the published rule, whatever the target."]


def _uncompared(study: Study) -> list[str]:
    """Why draws are not compared, where there are several."""
    if study.compares_draws or len(study.draws) < 2:
        return []
    return [
        "Every draw prunes a base model of its own, trained with its seed. The channels of different networks have "
        "nothing to do with each other, so that draws are not compared."
    ]


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
