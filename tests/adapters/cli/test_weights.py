from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
import torch
from torch import nn

from foad_plugins.adapters.cli.errors import CommandError
from foad_plugins.adapters.cli.models import build_model
from foad_plugins.adapters.cli.weights import find_weights, load_weights

save_file = pytest.importorskip("safetensors.torch").save_file


def network(classes=5):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, classes))


def written(path, state):
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def same(left, right):
    return all(torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_state_dict_fills_the_network(tmp_path, prefix):
    source, model = network(), network()
    path = written(tmp_path / "x.safetensors", {prefix + name: value for name, value in source.state_dict().items()})
    load_weights(model, path)
    assert same(source, model)


def test_half_precision_and_no_counters(tmp_path):
    state = {name: value.half() for name, value in network().state_dict().items() if "tracked" not in name}
    model = network()
    load_weights(model, written(tmp_path / "x.safetensors", state))
    assert model[0].weight.dtype == torch.float32
    assert torch.equal(model[0].weight, state["0.weight"].float())


def test_a_shared_tensor_may_be_in_the_file_once(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    load_weights(model, written(tmp_path / "x.safetensors", {"0.weight": torch.eye(3)}))
    assert torch.equal(model[1].weight, torch.eye(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("0.bias"), "1 missing: 0.bias$"),
        (lambda state: state.update(extra=torch.ones(1)), "1 unexpected: extra$"),
        (lambda state: state.update({"0.bias": torch.ones(3)}), r"1 of another shape: 0.bias \(3 in the file, 4 in"),
        (
            lambda state: [state.pop(name) for name in list(state)[:5]],
            "5 missing: 0.weight, 0.bias, 1.weight and 2 more",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, change, message):
    state, model = network().state_dict(), network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    change(state)
    with pytest.raises(CommandError, match=message):
        load_weights(model, written(tmp_path / "x.safetensors", state))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_another_number_of_classes_is_reported(tmp_path):
    path = written(tmp_path / "x.safetensors", network(7).state_dict())
    with pytest.raises(
        CommandError, match=r"3.weight \(7x16 in the file, 5x16 in the model\).* 7 classes \(num_classes"
    ):
        load_weights(network(), path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".th", ".bin", ".ckpt"])
def test_a_state_dict_of_torch_save(tmp_path, suffix, zipped):
    source, model = network(), network()
    path = tmp_path / f"it's{suffix}"
    torch.save(source.state_dict(), path, _use_new_zipfile_serialization=zipped)
    assert load_weights(model, path) == str(path)
    assert same(source, model)


@pytest.mark.parametrize(
    ("wrap", "entry"),
    [
        (lambda state: {"state_dict": state, "epoch": 3}, "['state_dict']"),
        (lambda state: {"epoch": 3, "model": state, "optimizer": {"state": {}}}, "['model']"),
        (lambda state: {"model_state_dict": state, "ema": {}}, "['model_state_dict']"),
        (lambda state: {"ema": {"state_dict": state}}, "['ema']['state_dict']"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_a_training_checkpoint(tmp_path, wrap, entry, prefix):
    source, model = network(), network()
    path = tmp_path / "x.ckpt"
    torch.save(wrap({prefix + name: value for name, value in source.state_dict().items()}), path)
    used = load_weights(model, path)
    assert same(source, model)
    assert used.startswith(f"checkpoint{entry} in ")
    assert (repr(prefix) in used) == bool(prefix)


def test_a_prefix_that_the_network_has_is_kept(tmp_path):
    source, model = nn.Module(), nn.Module()
    source.model, model.model = network(), network()
    path = tmp_path / "x.pt"
    torch.save(source.state_dict(), path)
    assert load_weights(model, path) == str(path)
    assert same(source, model)


class _Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [lambda bad: bad, lambda bad: {"state_dict": network().state_dict(), "extra": bad}])
def test_nothing_in_a_file_is_run(tmp_path, wrap, zipped):
    ran, path, model = tmp_path / "ran", tmp_path / "x.pth", network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.save(wrap(_Payload(ran)), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CommandError, match="holds more than tensors"):
        load_weights(model, path)
    assert not ran.exists()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: {"model": model, "epoch": 1}])
def test_a_pickled_model_is_refused_with_a_command_that_converts_it(tmp_path, wrap):
    source, model = network(), network()
    path = tmp_path / "it's.pth"
    torch.save(wrap(source), path)
    with pytest.raises(CommandError, match="such as a whole pickled model") as caught:
        load_weights(model, path)
    command = shlex.split(str(caught.value).partition("its state dict: ")[2].rpartition(" (torch: ")[0])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], check=True)
    load_weights(model, tmp_path / "it's-state.pt")
    assert same(source, model)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"epoch": 1}, "holds no state dict .* a dict of 'epoch'"),
        ([torch.ones(1)], "it is list"),
        ({"x": torch.ones(2, 2).to_sparse()}, "'x' is sparse"),
        ({"x": torch.ones(2, device="meta")}, "without data"),
    ],
)
def test_what_holds_no_state_dict(tmp_path, saved, message):
    torch.save(saved, tmp_path / "x.pt")
    with pytest.raises(CommandError, match=message):
        load_weights(network(), tmp_path / "x.pt")


@pytest.mark.parametrize("cut", [0, 4, 40, -1])
def test_a_damaged_file(tmp_path, cut):
    path = written(tmp_path / "x.safetensors", network().state_dict())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CommandError, match="no complete safetensors file"):
        load_weights(network(), path)


def test_names_of_torchvisions_weights(tmp_path, monkeypatch):
    weights = pytest.importorskip("torchvision.models").ResNet50_Weights
    monkeypatch.chdir(tmp_path)
    assert find_weights("DEFAULT", "resnet50") is weights.IMAGENET1K_V2
    assert find_weights("ResNet50_Weights.IMAGENET1K_V1", "resnet50") is weights.IMAGENET1K_V1
    for text in ("other.safetensors", "folder/DEFAULT"):
        with pytest.raises(CommandError, match="there is no weights file"):
            find_weights(text, "resnet50")
    with pytest.raises(CommandError, match="there is no weights file 'DEFAULT'"):
        find_weights("DEFAULT", None)


def test_no_weights_are_downloaded_by_default(monkeypatch):
    pytest.importorskip("torchvision")
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *args, **kwargs: pytest.fail("a download"))
    model = build_model("torchvision:lraspp_mobilenet_v3_large", num_classes=3)
    assert model.classifier.low_classifier.out_channels == 3


def test_a_failed_download_and_a_wrong_number_of_classes(monkeypatch):
    weights = pytest.importorskip("torchvision.models").ResNet18_Weights.DEFAULT

    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(CommandError, match="the weights of resnet18 cannot be downloaded: no network"):
        build_model("torchvision:resnet18", weights)
    with pytest.raises(CommandError, match="--num-classes 7 does not fit torchvision's own weights"):
        build_model("torchvision:resnet18", weights, 7)
