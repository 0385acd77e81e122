"""The examples of the guide to refit run in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "refit.md"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_examples_run_in_order(capsys):
    pytest.importorskip("torchvision")
    names: dict[str, object] = {}
    examples = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, "refit.md", "exec"), names)
    assert capsys.readouterr().out.count("layers refitted on 64 images") == 2
