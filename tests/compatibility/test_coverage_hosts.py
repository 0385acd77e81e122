"""Precisions, formats, wrappers, compiled code, many forms of images: they work, or an error names the reason."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

from foad_plugins import FOADImportance, count_params, load_pruned, prune, save_pruned
from foad_plugins.calibration.data import Call
from foad_plugins.cost.latency import measure_latency
from tests.adapters.prune.test_api import snapshot
from tests.compatibility.test_coverage import IMAGES, by_pruner, by_rule, to_a_target
from tests.helpers.seeds import SEED
from tests.networks.small_networks import seeded_norms
from tests.networks.user_networks import Two

WAYS = [by_pruner, by_rule, to_a_target]


def two():
    torch.manual_seed(SEED)
    return seeded_norms(Two()).eval()


def widths(model):
    return [layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_precisions(how, dtype):
    model = two().to(dtype)
    how(model, IMAGES.to(dtype))
    assert max(widths(model)) < 12
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    output = model.train()(IMAGES.to(dtype))
    output.float().sum().backward()
    assert model.first.weight.grad.dtype == dtype


@pytest.mark.parametrize("how", WAYS)
def test_called_under_autocast(how):
    model, plain = two(), two()
    with torch.autocast("cpu", torch.bfloat16):
        if how is not by_pruner:
            # Autocast keeps weights without gradient; to them pruners of Torch-Pruning lose layers on torch 2.4.
            with torch.no_grad():
                model(IMAGES)
        how(model, IMAGES)
        assert model(IMAGES).dtype == torch.bfloat16
    how(plain, IMAGES)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    if how is not by_rule:
        # The rule's selection may turn on the last digits.
        assert widths(model) == widths(plain)
    model(IMAGES).sum().backward()


@pytest.mark.parametrize("how", WAYS)
def test_channels_last_makes_no_difference(how):
    model, plain = two().to(memory_format=torch.channels_last), two()
    how(model, IMAGES.to(memory_format=torch.channels_last))
    how(plain, IMAGES)
    assert widths(model) == widths(plain)
    torch.testing.assert_close(model(IMAGES), plain(IMAGES))


@pytest.mark.parametrize("wrap", [AveragedModel, nn.DataParallel, copy.deepcopy], ids=["ema", "parallel", "copy"])
@pytest.mark.parametrize("how", WAYS)
def test_wrapped_and_copied_models(how, wrap):
    plain = two()
    wrapped, before = wrap(two()), snapshot(plain)
    if not isinstance(wrapped, Two):
        # by_pruner looks for it there.
        wrapped.head = wrapped.module.head
    how(wrapped, IMAGES)
    assert snapshot(plain) == before
    how(plain, IMAGES)
    assert widths(wrapped) == widths(plain)
    torch.testing.assert_close(wrapped(IMAGES), plain(IMAGES))


def test_a_copy_for_averaging_can_be_made_of_a_pruned_model():
    model = two()
    to_a_target(model, IMAGES)
    average = AveragedModel(model)
    with torch.no_grad():
        model.first.weight.mul_(2)
    average.update_parameters(model)
    assert average(IMAGES).shape == (12, 4)


def compiled(model):
    return torch.compile(model, backend="eager")


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


def compiled_part(model):
    model.second = torch.compile(model.second, backend="eager")
    return model


needs_stance = pytest.mark.skipif(torch.__version__ < "2.6", reason="compiled models need torch 2.6")


@pytest.fixture
def fresh_compiler():
    # It gives up on code that it has compiled too often, in other tests too.
    torch.compiler.reset()


@needs_stance
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("compile_it", [compiled, compiled_in_place, compiled_part])
@pytest.mark.parametrize("how", WAYS)
def test_compiled_models(how, compile_it):
    plain = two()
    original = two()
    model = compile_it(original)
    with torch.no_grad():
        model(IMAGES)
    how(model, IMAGES)
    how(plain, IMAGES)
    assert widths(original) == widths(plain)
    torch.testing.assert_close(model(IMAGES), plain(IMAGES))
    model.train()(IMAGES).sum().backward()


@needs_stance
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_code_is_bypassed_during_calibration():
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    model = torch.compile(two(), backend=backend)
    with torch.no_grad():
        model(IMAGES)
        FOADImportance(IMAGES).calibrate(model)
        prune(model, IMAGES, pruning_ratio=0.3, order="rounds", measure_latency=False)
        assert len(graphs) == 1
        measure_latency(model, Call((IMAGES,), IMAGES), min_seconds=0.01)
    assert len(graphs) > 1


@pytest.mark.parametrize("compile_it", [compiled, compiled_in_place, compiled_part])
@pytest.mark.parametrize("how", [by_rule, to_a_target])
def test_a_torch_that_cannot_bypass_compiled_code(how, compile_it, monkeypatch):
    monkeypatch.delattr(torch.compiler, "set_stance", raising=False)
    original = two()
    model = compile_it(original)
    with pytest.raises(ValueError, match=r"compiled, and torch .* cannot run it layer by layer"):
        how(model, IMAGES)
    assert widths(original) == widths(two())


@needs_stance
def test_a_compiled_model_is_saved_under_its_names(tmp_path):
    model = compiled(two())
    to_a_target(model, IMAGES)
    save_pruned(model, tmp_path / "small")
    again = load_pruned(lambda: compiled(two()), tmp_path / "small")
    assert torch.equal(again(IMAGES), model(IMAGES))


def quantisation_aware():
    model = two().train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
        return torch.ao.quantization.prepare_qat(model)


def in_inference_mode():
    with torch.inference_mode():
        return two()


class Lazy(Two):
    def __init__(self):
        super().__init__()
        self.first = nn.LazyConv2d(8, 3)


def with_norm(compute):
    model = two()
    compute(model.second)
    return model


COMPUTED = "weight of layer 'second' is computed .*remove_parametrizations"
NOT_PRUNABLE = {
    "lazy": (Lazy, r"layer 'first' has no parameters yet.*call the model once"),
    "exported": (lambda: torch.export.export(two(), (IMAGES,)).module(), "the model was exported"),
    "no data": (lambda: two().to("meta"), "layer 'first' has no data, it is on the meta device"),
    "inference mode": (in_inference_mode, "layer 'first' was made in inference mode"),
    "weight norm": (
        lambda: with_norm(parametrizations.weight_norm),
        COMPUTED,
    ),
    "spectral norm": (
        lambda: with_norm(parametrizations.spectral_norm),
        COMPUTED,
    ),
    "quantization aware": (quantisation_aware, "weight of layer 'first' is quantized .* prune before prepare_qat"),
}


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated")
@pytest.mark.parametrize("name", NOT_PRUNABLE)
@pytest.mark.parametrize("how", [by_rule, to_a_target])
def test_what_cannot_be_pruned_is_an_error_with_the_reason_and_unchanged(how, name):
    make, message = NOT_PRUNABLE[name]
    model = make()
    before = None if name in ("lazy", "no data") else snapshot(model)
    with pytest.raises((ValueError, RuntimeError), match=message):
        how(model, IMAGES)
    assert before is None or snapshot(model) == before


@pytest.mark.parametrize("name", ["lazy", "exported", "no data", "inference mode"])
def test_nor_calibrated(name):
    make, message = NOT_PRUNABLE[name]
    with pytest.raises(ValueError, match=message):
        FOADImportance(IMAGES).calibrate(make())


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
def test_the_error_for_torchscript_names_what_to_prune_instead():
    for model in (torch.jit.trace(two(), IMAGES), nn.Sequential(torch.jit.script(two()), nn.ReLU())):
        with pytest.raises(ValueError, match="TorchScript, whose layers are fixed: prune the module it was made from"):
            prune(model, IMAGES)


def test_lazy_layers_that_have_run_are_layers():
    model = Lazy()
    model(IMAGES)
    to_a_target(model, IMAGES)
    assert widths(model) == [5, 8]


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated")
def test_observers_are_left_as_they_were():
    model = quantisation_aware()
    before = snapshot(model)
    FOADImportance(IMAGES).calibrate(model)
    assert snapshot(model) == before


@pytest.mark.parametrize(
    "data",
    [
        IMAGES[:1],
        IMAGES[:, :, :11],
        [IMAGES[:4, :, :12], IMAGES[4:]],
        [{"x": IMAGES}],
        (part for part in IMAGES.split(5)),
        DataLoader(TensorDataset(IMAGES, torch.arange(12)), batch_size=5, shuffle=True),
        torch.zeros(3, 3, 16, 16),
        IMAGES.clone().requires_grad_(),
    ],
    ids=["one image", "not square", "two sizes", "dict", "generator", "loader", "black", "with gradients"],
)
def test_images_in_many_forms(data):
    model = two().train()
    before = count_params(model)
    prune(model, data, pruning_ratio=0.3, order="rounds", compensate=None, measure_latency=False)
    assert model.training
    assert count_params(model) < before
    assert not isinstance(data, torch.Tensor) or data.grad is None


def test_one_channel():
    model = Two(channels=1).eval()
    by_pruner(model, IMAGES[:, :1])
    assert model(IMAGES[:, :1]).shape == (12, 4)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (IMAGES[0], ValueError, "without a batch dimension"),
        (list(IMAGES), ValueError, "without a batch dimension"),
        (DataLoader(TensorDataset(IMAGES[:0]), batch_size=2), ValueError, "the loader is empty"),
        (IMAGES * float("nan"), ValueError, "layer 'second': the feature maps contain NaN"),
        ([{"image": IMAGES, "label": torch.zeros(12)}], TypeError, "unexpected keyword argument 'image'"),
        (IMAGES[:, :1], RuntimeError, r"expected input.* to have 3 channels, but got 1 channels"),
        (IMAGES.double(), RuntimeError, r"\(double\) and bias type \(float\) should be the same"),
        ((IMAGES * 255).byte(), RuntimeError, r"\(unsigned char\) and bias type \(float\) should be the same"),
        (IMAGES[..., :3], RuntimeError, "Kernel size can't be greater than actual input size"),
    ],
    ids=["single", "singles", "empty", "nan", "names", "channels", "double", "bytes", "small"],
)
@pytest.mark.parametrize("how", WAYS)
def test_wrong_images_are_refused_and_change_nothing(how, data, error, message):
    model = two().train()
    model.norm.eval()
    model.second.requires_grad_(False)
    if how is by_pruner:
        # The pruner's own tracing leaves eval mode behind, and its example is an image of the right kind.
        model.eval()
    before = snapshot(model)
    attempt = (lambda: by_pruner(model, IMAGES, FOADImportance(data))) if how is by_pruner else lambda: how(model, data)
    # In a pruner the model's own error comes through; prune() says what the model was called with.
    with pytest.raises(ValueError if how is not by_pruner else error, match=message):
        attempt()
    assert snapshot(model) == before
