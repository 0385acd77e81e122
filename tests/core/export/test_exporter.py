from __future__ import annotations

import shutil
import sys

import pytest
import torch
from torch import nn

pytest.importorskip("torch", minversion="2.6", reason="the extra export needs torch 2.6")

from foad_plugins import prune
from foad_plugins.export.exporter import ExportError, ExportReport, check_compiled, export_model
from tests.adapters.prune.test_api import snapshot
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, seeded_norms

IMAGES = torch.rand(4, 3, 8, 8, generator=generator())
SUFFIXES = ["onnx", "pt2", "ts"]


def _needs(suffix):
    if suffix == "onnx":
        for package in ("onnx", "onnxruntime", "onnxscript"):
            pytest.importorskip(package)


def _run(path, images):
    """The outputs of the file in the runtime of its format."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return torch.as_tensor(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(images)
    with pytest.warns(FutureWarning, match=r"`torch\.jit\.load` is deprecated"):
        return torch.jit.load(path)(images)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("images", [1, 4])
def test_a_pruned_chain(suffix, images, tmp_path):
    _needs(suffix)
    model = seeded_norms(Chain()).train()
    prune(model, IMAGES)
    before, state = snapshot(model), torch.get_rng_state()
    report = export_model(model, IMAGES[:images], str(tmp_path / f"chain.{suffix}"))
    assert snapshot(model) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert (report.path, report.format) == (tmp_path / f"chain.{suffix}", {"ts": "torchscript"}.get(suffix, suffix))
    assert report.size == report.path.stat().st_size > 1000
    assert report.difference < 1e-5
    assert report.dynamic_batch
    assert [file.name for file in tmp_path.iterdir()] == [report.path.name]
    model.eval()
    for count in (1, 3, 7):
        again = torch.rand(count, 3, 8, 8)
        with torch.no_grad():
            torch.testing.assert_close(_run(report.path, again), model(again))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["resnet18", pytest.param("mobilenet_v2", marks=pytest.mark.slow)])
def test_pruned_classifiers(suffix, name, tmp_path):
    _needs(suffix)
    models = pytest.importorskip("torchvision.models")
    model, images = models.get_model(name, num_classes=10), torch.rand(2, 3, 32, 32)
    prune(model, images)
    report = export_model(model, images, tmp_path / f"{name}.{suffix}")
    assert report.dynamic_batch
    assert report.difference < 1e-4


class _TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image, scale):
        features = self.conv(image) * scale.view(-1, 1, 1, 1)
        return {"features": features, "mean": features.mean((2, 3))}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("named", [False, True])
def test_several_inputs_and_outputs(suffix, named, tmp_path):
    _needs(suffix)
    scale = torch.rand(4)
    inputs = {"image": IMAGES, "scale": scale} if named else (IMAGES, scale)
    assert export_model(_TwoInputs(), inputs, tmp_path / f"x.{suffix}").dynamic_batch


class _Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(192, 3)

    def forward(self, x):
        return self.fc(x.reshape(4, 192))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_fixed_batch_size(suffix, tmp_path):
    _needs(suffix)
    report = export_model(_Fixed(), IMAGES, tmp_path / f"x.{suffix}")
    assert not report.dynamic_batch
    assert _run(report.path, IMAGES).shape == (4, 3)
    assert "batch size as exported" in str(report)


@pytest.mark.parametrize("suffix", ["pt2", "ts"])
def test_inputs_of_different_lengths(suffix, tmp_path):
    class Weighted(nn.Module):
        def forward(self, image, weights):
            return (image * weights.view(1, 3, 1, 1)).sum(1)

    assert not export_model(Weighted(), (IMAGES, torch.rand(3)), tmp_path / f"x.{suffix}").dynamic_batch


def test_an_explicit_format_and_the_printed_report(tmp_path):
    report = export_model(Chain(), IMAGES, tmp_path / "model.bin", "pt2")
    assert str(report).startswith(
        f"{tmp_path / 'model.bin'} (pt2): {report.size:,} bytes, any batch size, outputs within"
    )
    assert report == ExportReport(report.path, "pt2", report.size, report.difference, True)


class _Noisy(Chain):
    def forward(self, x):
        return super().forward(x) + torch.rand(1)


class _NotANumber(Chain):
    def forward(self, x):
        return [super().forward(x), super().forward(x) / 0 * 0]


class _Nothing(Chain):
    def forward(self, x):
        super().forward(x)


class _Raises(Chain):
    def forward(self, x):
        raise RuntimeError("never")


@pytest.mark.parametrize("network", [_Noisy, _NotANumber, _Nothing, _Raises])
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.filterwarnings("ignore")
def test_nothing_is_written_if_outputs_differ(suffix, network, tmp_path):
    _needs(suffix)
    model, path = network(), tmp_path / f"x.{suffix}"
    path.write_bytes(b"old")
    before = snapshot(model)
    with pytest.raises(ExportError, match=r"outputs that differ|gives tensors of shapes|cannot be exported"):
        export_model(model, IMAGES, path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("path", "options", "error", "message"),
    [
        ("x.bin", {}, ValueError, "path must end in .onnx, .pt2, .ts, .torchscript .* got 'x.bin'"),
        (
            "x.onnx",
            {"format": "tflite"},
            ValueError,
            "format must be one of 'onnx', 'pt2', 'torchscript', got 'tflite'",
        ),
        ("missing/x.pt2", {}, FileNotFoundError, "there is no folder '.*missing' to write 'x.pt2' to"),
        ("", {"format": "pt2"}, FileExistsError, "is no regular file"),
    ],
)
def test_wrong_paths(path, options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        export_model(Chain(), IMAGES, tmp_path / path, **options)


def test_wrong_inputs(tmp_path):
    for check in (check_compiled, lambda model, inputs: export_model(model, inputs, tmp_path / "x.pt2")):
        with pytest.raises(TypeError, match="inputs must be a tensor, a tuple or a dict, got list"):
            check(Chain(), [IMAGES])


def test_a_missing_extra_is_reported_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r'as onnx: .* \(.*onnxscript\); .* "foad-plugins\[export\]"'):
        export_model(_Raises(), IMAGES, tmp_path / "x.onnx")


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python:RuntimeWarning")
def test_compiled_without_a_compiler():
    model = seeded_norms(Chain()).train()
    prune(model, IMAGES)
    before = snapshot(model)
    assert check_compiled(model, IMAGES, "aot_eager") < 1e-5
    assert check_compiled(_TwoInputs(), {"image": IMAGES, "scale": torch.rand(4)}, "aot_eager") < 1e-5
    assert snapshot(model) == before
    with pytest.raises(ExportError, match="cannot be compiled with backend 'nonsense'"):
        check_compiled(model, IMAGES, "nonsense")
    assert snapshot(model) == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
@pytest.mark.parametrize("name", ["chain", "resnet18"])
def test_compiled_by_inductor(name):
    if name == "chain":
        model, images = seeded_norms(Chain()), IMAGES
    else:
        model, images = pytest.importorskip("torchvision.models").resnet18(num_classes=10), torch.rand(2, 3, 32, 32)
    prune(model, images)
    assert check_compiled(model, images) < 1e-3
