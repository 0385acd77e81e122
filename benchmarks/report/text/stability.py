"""Stability's part of the report: how far selections depend on the calibration images."""

from __future__ import annotations

from typing import Any

from ..charts.stability import stability_png
from ..charts.style import SeriesStyles
from ..data.agreement import Agreement
from ..data.stability import CriterionStability, StabilityReport
from ..formatting import escape_markdown
from .csv_files import twelve_digits, write_csv
from .notes import failed, kept_layers, provenance, smoke
from .section import Section, wrap
from .tables import draw_markdown, draw_narrow

_SAMPLES = "Agreement between calibration samples of as many images; in brackets that of random selections:"


def stability_section(report: StabilityReport, styles: SeriesStyles, suffix: str = "") -> Section:
    """Tables, chart and notes.

    Args:
        report: what to show.
        styles: of its rows.
        suffix: between the name of the chart and its ending.
    """
    first, files = _warnings(report), {}
    parts = [f"## {escape_markdown(report.title)}", *(f"**{escape_markdown(line)}**" for line in first)]
    if report.compares_samples:
        chart = f"stability{suffix}.png"
        files[chart] = stability_png(report, styles)
        parts += [_SAMPLES, samples_table(report), f"![agreement between calibration samples]({chart})"]
    parts.append("\n".join(f"- {escape_markdown(note)}" for note in stability_notes(report)))
    parts += ["<details>\n<summary>Between numbers of images, same calibration sample</summary>"]
    parts += [counts_table(report, criterion) for criterion in report.criteria]
    parts += ["</details>"]
    if report.compares_samples:
        summary = "Between calibration samples, by layer"
        parts += [f"<details>\n<summary>{summary}</summary>", layers_table(report), "</details>"]
    return Section(
        markdown="\n\n".join(parts) + "\n",
        terminal="\n\n".join([report.title, *_terminal_tables(report), wrap(first)]).rstrip(),
        files=files,
    )


def _warnings(report: StabilityReport) -> list[str]:
    lines = smoke(report.boards[0])
    missing = {criterion.criterion: len(criterion.missing) for criterion in report.criteria if criterion.missing}
    if missing:
        listed = ", ".join(f"{title} {count}" for title, count in missing.items())
        lines.append(f"Runs are missing ({listed}): these means are over fewer pairs, and blank where there is none.")
    return lines + [line for board in report.boards for line in failed(board.failures)]


def _terminal_tables(report: StabilityReport) -> list[str]:
    """Agreement with the most images, and between samples, without chance, which the page shows."""
    most, found = report.counts[-1], []
    for title, rows in (
        (f"IoU with the choice on {most} images", [(c, report.against_most(c)) for c in report.criteria]),
        ("IoU between calibration samples", [(c, c.between_samples) for c in report.criteria]),
    ):
        counts = [count for count in report.counts if any(by_count.get(count) for _, by_count in rows)]
        if counts:
            cells = [[c.criterion, *(_overlap(by_count.get(n)) for n in counts)] for c, by_count in rows]
            found.append(f"{title}, by number of images:\n\n{draw_narrow(['criterion', *map(str, counts)], cells)}")
    return found


def stability_notes(report: StabilityReport) -> list[str]:
    """What a reader must know to judge stability."""
    board, conditions = report.boards[0], report.setup.conditions
    return [
        "Agreement is the intersection over union (IoU, Jaccard index) of the channels that two runs remove: 1 is the "
        "same channels, 0 none in common. It is computed for the layer at the root of each coupled group and averaged "
        "over layers with equal weight. Where neither run removes a channel of a layer, that is full agreement.",
        "In brackets, and dotted: the expected IoU of two random selections of as many channels of each layer, exact, "
        "by the hypergeometric distribution. A criterion near this value depends on the calibration images alone.",
        f"Calibration samples (seeds): {', '.join(map(str, report.samples))}. The smaller set of images of a sample is "
        "the beginning of the larger, so that numbers of images are compared on nested sets; different samples share "
        "images only by chance.",
        f"{board.network}: {board.train_images} training images to draw from; target {conditions.target}."
        f"{kept_layers(board)}",
        *_by_rule(report),
        *_not_compared(report),
        *provenance(board),
    ]


def _by_rule(report: StabilityReport) -> list[str]:
    """Which criteria do not end at the target."""
    rules = dict.fromkeys(row.criterion for board in report.boards for row in board.rows if row.rule)
    if not rules:
        return []
    return [f"{', '.join(rules)}: the published rule decides how many channels are removed, whatever the target."]


def _not_compared(report: StabilityReport) -> list[str]:
    """Why calibration samples are not compared, where there are several."""
    if report.compares_samples or len(report.samples) < 2:
        return []
    return [
        "Every seed prunes a base model of its own, trained with that seed. Channels of different networks do not "
        "correspond to each other, so that calibration samples are not compared."
    ]


def samples_table(report: StabilityReport) -> str:
    """Agreement between calibration samples, with chance in brackets, by number of images."""
    columns = ["criterion", *(f"{count} images" for count in report.counts)]
    rows = [[c.criterion, *(_cell(c.between_samples.get(count)) for count in report.counts)] for c in report.criteria]
    return draw_markdown(columns, rows)


def counts_table(report: StabilityReport, criterion: CriterionStability) -> str:
    """One criterion's agreement between numbers of images of one calibration sample, with chance in brackets."""
    rows = [
        [f"{a} images", *(_cell(criterion.between_counts.get((min(a, b), max(a, b)))) for b in report.counts)]
        for a in report.counts
    ]
    return draw_markdown([criterion.criterion, *map(str, report.counts)], rows)


def layers_table(report: StabilityReport) -> str:
    """Agreement between calibration samples by layer, at the most images, with chance in brackets."""
    found = [criterion.between_samples.get(report.counts[-1]) for criterion in report.criteria]
    rows = [
        [layer, *("" if one is None or layer not in one.by_layer else _pair(*one.by_layer[layer]) for one in found)]
        for layer in report.layers
    ]
    return draw_markdown(["layer", *(criterion.criterion for criterion in report.criteria)], rows)


def stability_csv(reports: list[StabilityReport]) -> str:
    """A line for each comparison, the mean over layers first and then each layer."""
    lines: list[dict[str, Any]] = []
    for report in reports:
        for criterion in report.criteria:
            for (first, second), found in criterion.between_counts.items():
                lines += _lines(report, criterion, "numbers of images, same calibration sample", (first, second), found)
            for count, found in criterion.between_samples.items():
                lines += _lines(report, criterion, "calibration samples, same number of images", (count, count), found)
    return write_csv(lines)


def _lines(
    report: StabilityReport,
    criterion: CriterionStability,
    compared: str,
    images: tuple[int, int],
    found: Agreement | None,
) -> list[dict[str, Any]]:
    if found is None:
        return []
    layers = {"mean over layers": (found.overlap, found.chance), **found.by_layer}
    return [
        {
            "suite": report.setup.suite,
            "model": report.setup.conditions.model.name,
            "dataset": report.setup.conditions.dataset.name,
            "target": str(report.setup.conditions.target),
            "ranking": report.setup.ranking,
            "setup": report.setup.key[:16],
            "criterion": criterion.criterion,
            "compared": compared,
            "images of the first": images[0],
            "images of the second": images[1],
            "layer": layer,
            "pairs of runs": found.pairs,
            "IoU of removed channels, mean": twelve_digits(overlap),
            "IoU of random selections of these sizes": twelve_digits(chance),
        }
        for layer, (overlap, chance) in layers.items()
    ]


def _overlap(found: Agreement | None) -> str:
    return "" if found is None else f"{found.overlap:.3f}"


def _cell(found: Agreement | None) -> str:
    return "" if found is None else _pair(found.overlap, found.chance)


def _pair(overlap: float, chance: float) -> str:
    return f"{overlap:.3f} ({chance:.3f})"
