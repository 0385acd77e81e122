"""Training without labels after pruning, beside training with labels: one page from the records of several suites."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from ..records.schema import RunRecord
from ..report.data.estimates import estimate
from .common import compact_table, format_estimate, leaderboard_records
from .without_training import NAMES

SUITES = {
    "ResNet-56, CIFAR-10": ("cifar10-resnet56", "cifar10-resnet56-recovery"),
    "MobileFaceNet, LFW": ("lfw-mobilefacenet", "lfw-mobilefacenet-recovery"),
}
_WAYS = {
    ("local", "labels"): "same share, with labels",
    ("local", "distillation"): "same share, without labels",
    ("sensitivity", "recovery"): "sensitivity, refit, without labels",
}
_PLAIN = "l1"
_COMMAND = "python -m foad_plugins.benchmarks.studies.without_labels"

Key = tuple[str, str]
"""A way of pruning and training, and a criterion."""


def main() -> None:
    """Write docs/measurements/without_labels.md from the records in docs/leaderboards."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--leaderboards", type=Path, default=Path("docs/leaderboards"))
    parser.add_argument("--out", type=Path, default=Path("docs/measurements/without_labels.md"))
    options = parser.parse_args()
    records = {network: leaderboard_records(options.leaderboards, suites) for network, suites in SUITES.items()}
    options.out.write_text(page(records), encoding="utf-8")


def page(records: Mapping[str, Sequence[RunRecord]]) -> str:
    """The page, with a table for each network and target.

    Args:
        records: finished runs by network.
    """
    parts = [
        "# Without labels",
        "Accuracy in % of pruned networks, right after pruning and after training: means over seeds, ± half a 95 % "
        "interval by Student's t. *With labels*: every coupled group loses the same share of its channels, and the "
        "network is fine-tuned by cross-entropy, as most people do. *Without labels*: the network learns the "
        "original's outputs, by `recover` after a refit, else by the distillation of the suite. The difference is "
        "from L1 at the same share, seed by seed, where both were trained for the same number of epochs.",
    ]
    for network, found in records.items():
        by_target: dict[str, dict[Key, dict[int, RunRecord]]] = defaultdict(lambda: defaultdict(dict))
        for record in found:
            setup, criterion = record.inputs.setup, record.inputs.criterion
            way = _WAYS.get((setup.ranking, setup.conditions.finetune_recipe.objective))
            # Of FOAD's orders the default one.
            other = criterion.name == "foad" and criterion.settings.get("order") != "reconstruction"
            if way is not None and not other and record.accuracy.fine_tuned is not None:
                by_target[str(setup.conditions.target)][way, criterion.name][record.inputs.seed] = record
        ours = _WAYS["sensitivity", "recovery"]
        compared = {target: runs for target, runs in by_target.items() if any(way == ours for way, _ in runs)}
        if not compared:
            continue
        base = fmean(record.accuracy.base for record in found)
        parts += [f"## {network}", f"Base model {100 * base:.2f} %."]
        for target in sorted(compared):
            parts += [f"### {target}", _table(compared[target])]
    parts.append(f"Written by `{_COMMAND}` from the records of the leaderboards.")
    return "\n\n".join(parts) + "\n"


def _table(runs: Mapping[Key, Mapping[int, RunRecord]]) -> str:
    reference = next((found for (way, name), found in runs.items() if name == _PLAIN and way.startswith("same")), {})
    rows = []
    for (way, name), found in runs.items():
        trained = {seed: 100 * (record.accuracy.fine_tuned or 0.0) for seed, record in found.items()}
        before = [100 * (one.accuracy.one_shot_bn or one.accuracy.one_shot) for one in found.values()]
        plain = {seed: 100 * (record.accuracy.fine_tuned or 0.0) for seed, record in reference.items()}
        epochs = _epochs(found)
        both = sorted(trained.keys() & plain.keys())
        comparable = both and found is not reference and epochs == _epochs(reference)
        difference = estimate([trained[seed] - plain[seed] for seed in both]) if comparable else None
        cells = [
            format_estimate(estimate(before)),
            format_estimate(estimate(list(trained.values()))),
            format_estimate(difference, "+"),
        ]
        rows.append((way, NAMES.get(name, name), str(len(found)), ", ".join(map(str, sorted(epochs))), *cells))
    order = [*_WAYS.values(), *NAMES.values()]
    rows.sort(key=lambda row: (order.index(row[0]), order.index(row[1]) if row[1] in order else len(order)))
    head = ("way", "criterion", "seeds", "epochs", "after pruning", "trained", "difference")
    return compact_table(head, rows, left=2)


def _epochs(runs: Mapping[int, RunRecord]) -> set[int]:
    return {record.inputs.setup.conditions.finetune_recipe.epochs for record in runs.values()}


if __name__ == "__main__":
    main()
