from __future__ import annotations

import pytest
import torch
from torch import nn

from foad_plugins import count_flops, count_params, flops_table


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))


def test_a_multiply_add_is_one():
    assert count_flops(nn.Conv2d(3, 8, 3, bias=False), torch.zeros(1, 3, 8, 8)) == 8 * 36 * 27
    assert count_flops(nn.Linear(288, 5), torch.zeros(2, 288)) == 2 * 288 * 5


# Torch deprecates what fvcore does when it is imported.
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_equals_fvcore_itself():
    from fvcore.nn import FlopCountAnalysis

    model = network().eval()
    images = torch.zeros(1, 3, 8, 8)
    expected = FlopCountAnalysis(model, images).unsupported_ops_warnings(False).total()
    assert count_flops(model, images) == expected
    assert count_params(model) == sum(parameter.numel() for parameter in model.parameters())


def test_the_model_is_unchanged():
    model = network()
    model[1].momentum = 0.5
    model(torch.rand(4, 3, 8, 8))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    count_flops(model, torch.rand(4, 3, 8, 8))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())

    class Raises(nn.Module):
        def forward(self, x):
            raise RuntimeError("inside")

    broken = nn.Sequential(nn.Conv2d(3, 8, 3), Raises())
    with pytest.raises(RuntimeError, match="inside"):
        count_flops(broken, torch.zeros(1, 3, 8, 8))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in broken.modules())
    assert broken.training


def test_the_table_adds_up_and_names_its_unit():
    model = network()
    table = flops_table(model, torch.zeros(1, 3, 8, 8))
    assert [layer.name for layer in table.layers] == ["0", "1", "2", "3", "4"]
    assert sum(layer.flops for layer in table.layers) == table.flops
    assert sum(layer.params for layer in table.layers) == table.params == count_params(model)
    lines = str(table).splitlines()
    assert "one multiply-add is one" in lines[0]
    assert f"{table.flops:,}" in lines[-1]


def test_shared_parameters_count_once():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    assert count_params(nn.Sequential(first, second)) == 16 + 4 + 4


class _Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x, scale=1.0, *, mask=None):
        out = self.linear(x) * scale
        return out if mask is None else out * mask


def test_inputs_by_position_and_by_name():
    model = _Scaled()
    images = torch.zeros(2, 4)
    assert count_flops(model, (images, 2.0)) == 24
    assert count_flops(model, {"x": images, "scale": 3.0, "mask": torch.ones(2, 3)}) == 24
    with pytest.raises(TypeError, match="got list"):
        count_flops(model, [images])


def test_attention_is_counted():
    tokens, width = 6, 8
    attention = nn.MultiheadAttention(width, 2, batch_first=True)

    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = attention

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0]

    projections = tokens * width * (3 * width + width)
    products = 2 * tokens * tokens * width
    assert count_flops(Attends(), torch.zeros(1, tokens, width)) == projections + products
