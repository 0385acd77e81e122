"""The statements of the README hold."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.filterwarnings("ignore")
def test_the_python_examples_run_in_order(capsys, tmp_path, monkeypatch):
    pytest.importorskip("torchvision")
    pytest.importorskip("nni")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    examples = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        exec(compile(example, "README.md", "exec"), names)
    assert "channels removed" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_the_guide_to_targets_runs_from_beginning_to_end(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torchvision")
    pytest.importorskip("matplotlib")
    pytest.importorskip("pytorch_lightning")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "prune.md").read_text(), flags=re.DOTALL)
    assert len(examples) == 8
    for example in examples:
        exec(compile(example, "prune.md", "exec"), names)
    written = {"curves.json", "report.html", "resnet18-half.safetensors", "widths.png"}
    assert {file.name for file in tmp_path.iterdir()} == written
    assert "fine-tune here, after step 1" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_the_nni_guide_runs_from_beginning_to_end(tmp_path, monkeypatch):
    pytest.importorskip("nni")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "nni.md").read_text(), flags=re.DOTALL)
    assert len(examples) == 7
    for example in examples:
        exec(compile(example, "nni.md", "exec"), names)
    assert (tmp_path / "small.pt").is_file()


def test_the_readme_gives_accuracies_after_recovery_of_the_page_without_labels():
    page = (ROOT / "docs" / "measurements" / "without_labels.md").read_text(encoding="utf-8")
    half = page.partition("### FLOPs -50%")[2].partition("###")[0].splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in half if line.count("|") > 5]
    trained = {(row[0], row[1]): row[5].partition(" ")[0] for row in rows}
    shown = re.search(r"without labels, lead to ([\d.]+) %; L1 .* labels, has ([\d.]+) %", README, flags=re.DOTALL)
    assert shown is not None
    ours = trained["sensitivity, refit, without labels", "FOAD"]
    assert shown.groups() == (ours, trained["same share, with labels", "L1"])


def test_the_readme_shows_rows_of_the_page_without_training():
    rendered = (ROOT / "docs" / "measurements" / "without_training.md").read_text(encoding="utf-8").splitlines()
    shown = README.partition("<!-- table -->")[2].partition("<!-- end -->")[0].strip().splitlines()
    assert len(shown) == 6
    assert [line for line in shown if line not in rendered] == []


def test_contributing_names_places_that_exist():
    places = re.findall(r"`(foad_plugins[\w.]*):(\w+)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(places) > 10
    for module, name in places:
        assert hasattr(importlib.import_module(module), name), f"{module}:{name}"


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize(
    "name", ["criterion.similarity", "criterion.selection", "cost.flops", "allocation.widths", "allocation.loss"]
)
def test_the_examples_in_docstrings(name):
    module = importlib.import_module(f"foad_plugins.{name}")
    results = doctest.testmod(module)
    assert results.failed == 0
    assert results.attempted


def test_importing_the_package_loads_no_host_but_torch():
    names = {"torchvision", "nni", "torch_pruning", "sklearn", "fvcore", "numba", "matplotlib", "foad_plugins.adapters"}
    code = f"import sys, foad_plugins; print(sorted({names} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_names_are_attribute_errors():
    import foad_plugins

    assert set(foad_plugins.__all__) <= set(dir(foad_plugins))
    with pytest.raises(AttributeError, match="no attribute 'FOADimportance'"):
        _ = foad_plugins.FOADimportance
