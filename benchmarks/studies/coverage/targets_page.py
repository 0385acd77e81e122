"""The page of the networks that were pruned to a target, from its lines."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ....utils.text import enumerate_some
from ..common import table
from .catalog import LIBRARIES, catalog
from .target_trial import FLOPS, IMAGES

TOLERANCE = 0.01
_COMMAND = "python -m foad_plugins.benchmarks.studies.coverage.targets"
_OUTPUT = "its channels are the model's output"
_NOTES = f"""\
Each network was pruned by `prune(model, images, flops={FLOPS})` alone: no layer is named, all other options have their
defaults. Weights are random. The {IMAGES} images are blurred noise of 64 by 64 pixels, or of the smallest size that
the network takes. Large networks are made smaller by their own options; the networks of transformers have small
configurations.

*reached* is a share of the FLOPs within {TOLERANCE} of {FLOPS}, with an output of finite values and the shapes of
before. *works* is such an output at another share. *unchanged* is a network that is bit for bit as before, after an
error that has the reason. *kept* counts the convolutions and linear layers from which no channel could be removed,
without those that make the output; a table below has the one reason for each. Seconds are of the processor, one
thread, of `prune` alone; the memory is the most that its process had, with all four libraries imported."""


def reached(line: Mapping[str, Any]) -> bool:
    """Whether a network works at the target."""
    return line.get("works") is True and abs(line.get("flops", 0.0) - FLOPS) <= TOLERANCE


def verdict(line: Mapping[str, Any]) -> str:
    """The outcome for one network, in a word: reached, works, unchanged, or what is wrong."""
    if "stopped" in line:
        return "stopped"
    if line["works"] is not True:
        return "broken"
    if "error" in line:
        return "unchanged" if line["unchanged"] else "broken"
    return "reached" if reached(line) else "works"


def write_targets(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the page, and print its first table."""
    known = catalog()
    lines = sorted(
        (line for line in lines if line["network"] in known), key=lambda line: list(known).index(line["network"])
    )
    counts = [
        _counts(library, [line for line in lines if line["network"].startswith(f"{library}/")]) for library in LIBRARIES
    ]
    counts.append(_counts("all", lines))
    first = _table(counts, ("", "networks", "reached", "share", "works", "unchanged", "broken", "stopped"))
    text = [f"# Networks to a target\n\n{_NOTES}", first]
    tried = {line["network"] for line in lines}
    if untried := [name for name in known if name not in tried]:
        text.append(f"Not tried yet: {', '.join(untried)}.")
    for library in LIBRARIES:
        rows = [_row(line) for line in lines if line["network"].startswith(f"{library}/")]
        heads = ("network", "", "FLOPs", "layers", "narrower", "kept", "s", "MiB")
        text += [f"## {library}", _table(rows, heads)]
    text += ["## Layers that keep all channels", _table(_reasons(lines), ("network", "layers", "reason"))]
    text += ["## Networks that did not reach the target", _table(_missed(lines), ("network", "", "message"))]
    versions = {f"{name} {number}" for line in lines for name, number in line["versions"].items() if number}
    text.append(f"Written by `{_COMMAND}` with {', '.join(sorted(versions))}, {platform.machine()}.")
    path.write_text("\n\n".join(text) + "\n")
    print(first)


def _counts(name: str, lines: Sequence[Mapping[str, Any]]) -> tuple[object, ...]:
    verdicts = [verdict(line) for line in lines]
    share = f"{100 * verdicts.count('reached') / len(lines):.0f} %" if lines else ""
    others = (verdicts.count(kind) for kind in ("works", "unchanged", "broken", "stopped"))
    return name, len(lines), verdicts.count("reached"), share, *others


def _row(line: Mapping[str, Any]) -> tuple[object, ...]:
    kept = sum(why != _OUTPUT for why in line.get("kept", {}).values())
    flops = f"{line['flops']:.3f}" if "flops" in line else ""
    name = line["network"].partition("/")[2]
    cost = f"{line['seconds']:.0f}", line.get("peak_mib", "")
    return name, verdict(line), flops, line.get("layers", ""), line.get("narrowed", ""), kept, *cost


def _reasons(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """For each network and kind of reason the layers."""
    rows = []
    for line in lines:
        by_reason: dict[str, tuple[str, list[str]]] = {}
        for layer, why in line.get("kept", {}).items():
            if why != _OUTPUT:
                # The same reason with other numbers and names is of the same kind.
                kind = re.sub(r"'[^']*'|\d+", "", why)
                by_reason.setdefault(kind, (why, []))[1].append(layer)
        rows += [(line["network"], enumerate_some(layers, 3), why) for why, layers in by_reason.values()]
    return rows


def _missed(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    rows = []
    for line in lines:
        if not reached(line):
            notes = [note for note in line.get("notes", ()) if "is met to" in note]
            message = line.get("error") or line.get("stopped") or "; ".join(notes)
            rows.append((line["network"], verdict(line), message))
    return rows


def _table(rows: Sequence[Sequence[object]], heads: Sequence[str]) -> str:
    return table(heads, [[_cell(value) for value in row] for row in rows]) if rows else "None."


def _cell(value: object) -> str:
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= 300 else f"{text[:300]} ..."
