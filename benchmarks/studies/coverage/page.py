"""The page of the coverage study, from its lines."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common import table
from .models import OTHERS, classifiers
from .trial import CHECKS, RATIO

_COMMAND = "python -m foad_plugins.benchmarks.studies.coverage"
_NAMES = {"l1": "L1", "foad": "FOAD"}
_NOTES = f"""\
Every classification model of torchvision's, and some for segmentation and detection, with random weights and the
smallest images they take, pruned by `MetaPruner` of Torch-Pruning at ratio {RATIO} with its own L1 importance
(`MagnitudeImportance(p=1)`) and by the same call with `FOADImportance(images)`. Layers that make the output are
ignored; attention layers are named in `out_channel_groups`; `hidden_dim` of the vision transformers is set
afterwards, which torchvision keeps as a number; the auxiliary heads of googlenet and inception_v3 are left out.

*yes* means all of: fewer parameters; the output has the form it had; `save_pruned` and `load_pruned` give the same
output bit for bit; in train mode every parameter gets a gradient. For FOAD also: calibration left no trace, by hashes
of parameters, buffers, gradients, train flags, frozen flags, hooks, attributes and random state, in a model with mixed
flags and gradients. Other networks are in [supported-models.md](../supported-models.md).

*limit* is a trial that came to its limit of time or memory: it counts as no, and as neither side's alone. *left* is
the share of the parameters after pruning; the seconds are of the whole trial, most of it checks, on one thread of a
machine with other work."""


def passed(result: Mapping[str, Any]) -> bool:
    """Whether every check of a trial passed."""
    return all(outcome is True for outcome in result["checks"].values())


def write_coverage(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the page, and print its first table."""
    reasons = {line["model"]: line["left_out"] for line in lines if "left_out" in line}
    lines = [line for line in lines if "left_out" not in line]
    parts = {
        "Classifiers": [line for line in lines if line["model"] not in OTHERS],
        "Segmentation and detection": [line for line in lines if line["model"] in OTHERS],
    }
    kinds = list(_NAMES)
    heads = ("", "models", *(_NAMES[kind] for kind in kinds), "L1 and not FOAD", "FOAD and not L1")
    counts = [
        (
            part,
            len(some),
            *(sum(passed(line[kind]) for line in some) for kind in kinds),
            sum(passed(line["l1"]) and not passed(line["foad"]) and not _limited(line["foad"]) for line in some),
            sum(passed(line["foad"]) and not passed(line["l1"]) and not _limited(line["l1"]) for line in some),
        )
        for part, some in parts.items()
    ]
    text = [f"# Coverage\n\n{_NOTES}", table(heads, counts)]
    if untried := sorted({*classifiers(), *OTHERS} - {line["model"] for line in lines} - reasons.keys()):
        text.append(f"Not tried yet: {', '.join(untried)}.")
    for reason in dict.fromkeys(reasons.values()):
        text.append(f"Not tried, {reason}: {', '.join(name for name in sorted(reasons) if reasons[name] == reason)}.")
    for part, some in parts.items():
        rows = [(line["model"], *_cells(line["l1"]), *_cells(line["foad"])) for line in sorted(some, key=_name)]
        text += [f"## {part}", table(("model", "L1", "left", "s", "FOAD", "left", "s"), rows)]
    failed = [
        (line["model"], _NAMES[kind], check, _short(line[kind]["checks"][check]))
        for line in sorted(lines, key=_name)
        for kind in kinds
        for check in CHECKS
        if line[kind]["checks"].get(check, True) is not True
    ]
    text += ["## What fails, and how", table(("model", "importance", "check", "message"), failed)]
    versions = {f"{name} {number}" for line in lines for name, number in line["versions"].items()}
    limits = {f"{line['limits']['seconds']:g} s and {line['limits']['memory']:g} GiB" for line in lines}
    text.append(
        f"Written by `{_COMMAND}` with {', '.join(sorted(versions))}, {platform.machine()}; each trial in a process of "
        f"its own with a limit of {' or '.join(sorted(limits))}."
    )
    path.write_text("\n\n".join(text) + "\n")
    print(table(heads, counts))


def _name(line: Mapping[str, Any]) -> str:
    return str(line["model"])


def _cells(result: Mapping[str, Any]) -> tuple[str, str, str]:
    left = f"{result['params_after'] / result['params_before']:.3f}" if "params_after" in result else ""
    seconds = f"{result['seconds']:.0f}" if "seconds" in result else ""
    return "yes" if passed(result) else "limit" if _limited(result) else "no", left if passed(result) else "", seconds


def _limited(result: Mapping[str, Any]) -> bool:
    """Whether a trial reached its limit of time or memory, so that its outcome is unknown."""
    limits = ("MemoryError", "stopped after", "exit status -9")
    failures = [outcome for outcome in result["checks"].values() if outcome is not True]
    return any(outcome.startswith(limits) or "can't allocate memory" in outcome for outcome in failures)


def _short(outcome: str) -> str:
    text = "MemoryError: the limit was reached" if outcome.startswith("MemoryError") else outcome
    return (text if len(text) <= 120 else f"{text[:117]}...").replace("|", "\\|")
