"""The size of a network: widths, parameters, FLOPs, shapes of what it returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from ...calibration.data import Call, ForwardFn
from ...cost.flops import FlopsTable, LayerFlops, count_params, flops_table
from ...report.data import LayerWidth
from ...utils.layers import layer_width
from ...utils.memory import is_out_of_memory
from ...utils.outputs import output_tensors

__all__ = ["ModelSize", "layer_widths", "measure", "output_shapes"]


@dataclass(frozen=True)
class ModelSize:
    """What a network costs.

    Attributes:
        widths: output channels (features) of convolutions and linear layers, by name.
        table: parameters and FLOPs by layer; the latter are 0 where they cannot be counted.
        counted: whether FLOPs could be counted.
    """

    widths: dict[str, int]
    table: FlopsTable
    counted: bool

    @property
    def flops(self) -> int | None:
        """FLOPs of the example, None if not countable."""
        return self.table.flops if self.counted else None

    def cost(self, kind: str) -> int:
        """Parameters for ``"params"``, else FLOPs."""
        return self.table.params if kind == "params" else self.table.flops

    def layer_flops(self) -> dict[str, int]:
        """FLOPs by layer; empty if not countable."""
        return {layer.name: layer.flops for layer in self.table.layers} if self.counted else {}


def measure(model: nn.Module, example: Call, forward_fn: ForwardFn | None) -> ModelSize:
    """The size of a model; FLOPs can be counted where fvcore can trace the model itself."""
    widths = {
        name: layer_width(module, "output") or 0
        for name, module in model.named_modules()
        if isinstance(module, (_ConvNd, nn.Linear))
    }
    if forward_fn is None:
        try:
            return ModelSize(widths, flops_table(model, example.kwargs or example.args), True)
        # The tracer passes tensors where the model expects integers, so its own code may raise anything.
        except Exception as error:
            if is_out_of_memory(error):
                raise
    layers = tuple(
        LayerFlops(name, type(module).__name__, count_params(module), 0)
        for name, module in model.named_modules()
        if not any(module.children())
    )
    return ModelSize(widths, FlopsTable(layers, count_params(model), 0), False)


def layer_widths(before: ModelSize, after: ModelSize) -> tuple[LayerWidth, ...]:
    """Both sizes side by side."""
    first, second = before.layer_flops(), after.layer_flops()
    return tuple(
        LayerWidth(name, width, after.widths[name], first.get(name), second.get(name))
        for name, width in before.widths.items()
    )


@torch.no_grad()
def output_shapes(model: nn.Module, example: Call, forward_fn: ForwardFn | None) -> list[tuple[int, ...]]:
    """The shapes of all tensors that a call returns."""
    return [tuple(tensor.shape) for tensor in output_tensors(example.run(model, forward_fn))]
