"""The examples run from beginning to end, on digits or on a small network."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def needs(*packages):
    for package in packages:
        pytest.importorskip(package, reason=f"needs {package}")


def percents(text):
    return {line.split()[0]: float(re.search(r"([\d.]+)%", line)[1]) for line in text.splitlines() if "%" in line}


def test_a_timm_model_is_pruned_recovered_and_exported(capsys):
    needs("timm", "sklearn", "onnx", "onnxscript", "onnxruntime")
    names = runpy.run_path(str(EXAMPLES / "timm_model.py"))
    accuracy = percents(capsys.readouterr().out)
    assert names["report"].flops_after / names["report"].flops_before == pytest.approx(0.5, abs=0.01)
    assert accuracy["trained"] > 90
    assert accuracy["recovered"] > accuracy["trained"] - 3
    assert Path("timm-digits.onnx").stat().st_size > 0


def test_a_config_list_of_nni_becomes_an_onnx_file(capsys):
    needs("nni", "sklearn", "onnx", "onnxscript", "onnxruntime")
    runpy.run_path(str(EXAMPLES / "nni_to_onnx.py"))
    accuracy = percents(capsys.readouterr().out)
    assert accuracy["trained"] > 90
    assert accuracy["fine-tuned"] > accuracy["trained"] - 3
    assert Path("nni-digits.onnx").stat().st_size > 0


def test_a_yolo_keeps_its_outputs(monkeypatch):
    needs("ultralytics")
    monkeypatch.setattr("sys.argv", ["yolo.py"])
    names = runpy.run_path(str(EXAMPLES / "yolo.py"))
    assert names["report"].flops_after / names["report"].flops_before == pytest.approx(0.75, abs=0.01)
    assert Path("yolo-pruned.safetensors").stat().st_size > 0


def test_the_page_on_time_runs(capsys):
    needs("torchvision", "onnx", "onnxscript", "onnxruntime")
    page = (EXAMPLES / "faster_on_the_clock.md").read_text()
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(example, "faster_on_the_clock.md", "exec"), names)
    printed = capsys.readouterr().out
    assert printed.count("FLOPs") == 3
    assert printed.count("ms an image") == 4
    assert printed.count("ONNX Runtime") == 2
    layers = [module for module in names["aligned"].modules() if isinstance(module, torch.nn.Conv2d)]
    assert {layer.out_channels % 16 for layer in layers} == {0}


def test_the_notebook_runs(monkeypatch):
    needs("sklearn", "matplotlib")
    monkeypatch.delenv("FOAD_DATA", raising=False)
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    notebook = json.loads((EXAMPLES / "digits.ipynb").read_text())
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            # What is in the file is the output of a run.
            assert cell["execution_count"]
            exec(compile("".join(cell["source"]), "digits.ipynb", "exec"), names)
    assert names["report"].flops_after / names["report"].flops_before == pytest.approx(0.5, abs=0.02)
    assert names["recovered"] > names["trained"] - 0.03
