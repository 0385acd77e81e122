"""The page about training without labels runs from beginning to end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "recovery.md").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_page_runs(capsys):
    pytest.importorskip("torchvision")
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(compile(example, "recovery.md", "exec"), names)
    assert capsys.readouterr().out.count("recovery: 2 steps") == 1
    assert names["report"].loss_after <= names["report"].loss_before
