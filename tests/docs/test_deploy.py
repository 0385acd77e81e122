"""The guide to saving, exporting and quantising runs from beginning to end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "deploy.md").read_text()


def run(text):
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(example, "deploy.md", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("huggingface_hub")
    monkeypatch.chdir(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_save_and_load(tmp_path, capsys):
    run(GUIDE.partition("## Export")[0])
    assert {file.name for file in tmp_path.iterdir()} == {"digits.safetensors", "digits-pruned", "other.safetensors"}
    assert "pruned" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_of_it(tmp_path, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    names = run(GUIDE)
    assert names["before"] > 0.93
    assert names["after"] > names["before"] - 0.03
    assert (tmp_path / "digits-int8.onnx").stat().st_size < 0.6 * (tmp_path / "digits.onnx").stat().st_size
    shown = GUIDE.partition("```text\n")[2].partition("```")[0].splitlines()
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == [line.split()[0] for line in shown]
