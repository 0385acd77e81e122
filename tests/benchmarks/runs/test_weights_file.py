from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from foad_plugins.benchmarks.runs.weights_file import WeightsError, WeightsFile


@pytest.fixture
def path(tmp_path: Path, chain: nn.Module) -> Path:
    save_file(chain.state_dict(), tmp_path / "chain.safetensors")
    return tmp_path / "chain.safetensors"


def test_all_tensors_arrive_and_decide_the_hash(path: Path, chain: nn.Module, residual: nn.Module) -> None:
    fresh = type(chain)()
    file = WeightsFile.read(path)
    file.load_into(fresh)
    assert all(torch.equal(value, chain.state_dict()[name]) for name, value in fresh.state_dict().items())
    assert file.hash == WeightsFile.read(path).hash
    save_file(residual.state_dict(), path)
    assert WeightsFile.read(path).hash != file.hash


def test_half_precision_becomes_the_networks_own(path: Path, chain: nn.Module) -> None:
    halves = {name: value.half() if value.is_floating_point() else value for name, value in chain.state_dict().items()}
    save_file(halves, path)
    fresh = type(chain)()
    WeightsFile.read(path).load_into(fresh)
    assert fresh.conv1.weight.dtype == torch.float32
    assert torch.equal(fresh.conv1.weight, chain.conv1.weight.half().float())


def test_a_training_checkpoint_of_torch_save(tmp_path: Path, chain: nn.Module) -> None:
    path = tmp_path / "chain.ckpt"
    torch.save({"state_dict": {f"module.{name}": value for name, value in chain.state_dict().items()}}, path)
    fresh = type(chain)()
    done = WeightsFile.read(path).load_into(fresh)
    assert done == f"checkpoint['state_dict'] in {path}, without the prefix 'module.' of its names"
    assert torch.equal(fresh.conv1.weight, chain.conv1.weight)


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_weights_of_another_network_are_refused(path: Path, chain: nn.Module, change: str) -> None:
    state = dict(chain.state_dict())
    if change == "missing":
        del state["conv1.weight"]
    elif change == "surplus":
        state["conv1.scale"] = torch.zeros(1)
    else:
        state["conv1.weight"] = torch.zeros(2, 1, 3, 3)
    save_file(state, path)
    name = "conv1.scale" if change == "surplus" else "conv1.weight"
    with pytest.raises(WeightsError, match=f"{path} does not fit GrayChain: .*{name}") as caught:
        WeightsFile.read(path).load_into(chain)
    assert "\n" not in str(caught.value)


def test_a_long_list_of_differences_is_cut(path: Path, chain: nn.Module) -> None:
    save_file({f"layer{number}": torch.zeros(1) for number in range(100)}, path)
    with pytest.raises(WeightsError, match=r"100 unexpected: layer0, layer1, layer10 and 97 more$"):
        WeightsFile.read(path).load_into(chain)


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_safetensors_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="no complete safetensors file|is damaged"):
        WeightsFile.read(path)
