"""The page of the GPU speed study, from its record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..common import table

_COMMAND = "python -m foad_plugins.benchmarks.studies.speed.gpu"
_NOTES = """\
Times are medians of several rounds in which the parts ran interleaved, between events on the GPU's own clock, after a
first round as a warm-up. A forward pass is the bare model on the same images, without gradients; a whole calibration
is tracing, forward pass and criterion, all groups, all consumers. Tracing costs the same for any number of images.
Images are on the GPU beforehand. Figures without a unit are in forward passes on the same images, unless the row says
otherwise; each row of a forward pass begins another network."""


def write_page(record: Mapping[str, Any], path: Path) -> None:
    """Render a record of the study as Markdown."""
    rows = [(row["what"], f"{row['value']:.3g} {row['unit']}".strip()) for row in record["rows"]]
    tf32 = "in TF32, torch's default" if record["convolutions in TF32"] else "in float32"
    commit = f"; commit {record['commit'][:12]}" if record.get("commit") else ""
    made = (
        f"Written by `{_COMMAND}` on {record['device']} with torch {record['torch']} and Python {record['python']}; "
        f"convolutions {tf32}{commit}."
    )
    texts = ["# Speed on a GPU", *filter(None, [record.get("note")]), _NOTES, table(("what", "measured"), rows), made]
    path.write_text("\n\n".join(texts) + "\n")
