from __future__ import annotations

import pytest
import torch
from torch import nn

from foad_plugins.recovery.refitting.patches import LayerMatrix, is_linear_map

LAYERS = {
    "linear": (lambda: nn.Linear(5, 4), (3, 5)),
    "linear over positions": (lambda: nn.Linear(5, 4), (2, 3, 6, 5)),
    "1-d": (lambda: nn.Conv1d(3, 4, 3, stride=2, padding=1), (2, 3, 9)),
    "2-d": (lambda: nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (2, 3, 7, 8)),
    "pointwise": (lambda: nn.Conv2d(3, 4, 1, bias=False), (2, 3, 5, 5)),
    "3-d": (lambda: nn.Conv3d(2, 3, (1, 3, 2), padding=(0, 1, 1)), (2, 2, 3, 4, 5)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 6)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4), (2, 4, 5, 6)),
    "depthwise with a multiplier": (lambda: nn.Conv2d(3, 6, 3, padding=1, groups=3), (2, 3, 5, 6)),
    "same": (lambda: nn.Conv2d(3, 4, (4, 3), padding="same", dilation=(1, 2)), (2, 3, 7, 8)),
    "valid": (lambda: nn.Conv2d(3, 4, 3, padding="valid"), (2, 3, 7, 8)),
    "reflect": (lambda: nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="reflect"), (2, 3, 7, 8)),
    "circular": (lambda: nn.Conv1d(3, 4, 3, padding=1, padding_mode="circular"), (2, 3, 7)),
    "replicate": (lambda: nn.Conv2d(3, 4, 3, padding="same", padding_mode="replicate"), (2, 3, 7, 8)),
    "transposed 1-d": (lambda: nn.ConvTranspose1d(3, 4, 3, stride=2), (2, 3, 5)),
    "transposed": (
        lambda: nn.ConvTranspose2d(4, 6, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 0), groups=2),
        (2, 4, 5, 3),
    ),
    "transposed, dilated": (lambda: nn.ConvTranspose2d(2, 3, 3, stride=2, dilation=2, padding=1), (2, 2, 4, 4)),
}


@pytest.fixture(params=LAYERS, ids=str)
def layer(request):
    module, shape = LAYERS[request.param]
    return module().double(), torch.randn(shape, dtype=torch.float64)


# Of an even kernel the padding is larger on one side.
@pytest.mark.filterwarnings("ignore:Using padding='same'")
@torch.no_grad()
def test_rows_times_weight_is_the_output(layer):
    module, x = layer
    matrix, output = LayerMatrix(module), module(x)
    chosen = torch.randperm(matrix.count(output))[:17]
    rows = matrix.input_rows(x, tuple(output.shape), chosen)
    assert rows.shape == (matrix.groups, len(chosen), matrix.unknowns)
    made = (rows @ matrix.weight()).transpose(0, 1).flatten(1)
    made = made if module.bias is None else made + module.bias
    torch.testing.assert_close(made, matrix.output_rows(output, chosen))


def test_the_matrices_are_written_back_to_the_same_places(layer):
    matrix = LayerMatrix(layer[0])
    assert torch.equal(matrix.to_layer(matrix.weight()), matrix.layer.weight)


def test_half_precision_gives_rows_in_single_precision():
    rows = LayerMatrix(nn.Linear(3, 2)).input_rows(torch.ones(4, 3, dtype=torch.bfloat16), (4, 2), torch.arange(4))
    assert rows.dtype == torch.float32


def test_a_layer_with_a_forward_of_its_own_is_no_linear_map():
    class Shifted(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1

    assert is_linear_map(nn.Conv2d(1, 1, 1))
    assert not is_linear_map(Shifted(2, 2))
    assert not is_linear_map(nn.ReLU())
