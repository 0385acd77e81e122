"""FLOPs and parameters, counted by fvcore; the model is unchanged."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..calibration.data import Call, iter_calls, model_device
from ..calibration.preserve import check_model, preserve_state, without_hooks_of
from ..utils.outputs import output_tensors
from ..utils.text import printable_lines

__all__ = ["FlopsTable", "LayerFlops", "count_flops", "count_params", "flops_table"]


def count_flops(model: nn.Module, inputs: Tensor | tuple[Any, ...] | Mapping[str, Any]) -> int:
    """FLOPs of one forward pass in eval mode, in fvcore's unit: one multiply-add is one FLOP.

    Counted are convolutions, linear layers, matrix products and attention, normalization, adaptive average pooling and
    interpolation; activations and additions are not. The count is for the given inputs: pass one image for the number
    in papers.

    Args:
        model: any module that ``torch.jit.trace`` can trace; unchanged.
        inputs: a tensor, a tuple of positional or a dict of keyword arguments; moved to the model's device.

    Returns:
        The total.

    Raises:
        TypeError: no model, or inputs of another form.
        ValueError: an empty batch, or a model on the meta device.
    """
    return flops_table(model, inputs).flops


def count_params(model: nn.Module) -> int:
    """The number of parameters; shared ones count once."""
    check_model(model)
    return sum(parameter.numel() for parameter in model.parameters())


@dataclass(frozen=True)
class LayerFlops:
    """One module of a :class:`FlopsTable`.

    Attributes:
        name: dotted name in the model.
        kind: the module's class.
        params: parameters in the module.
        flops: FLOPs in the module; one multiply-add is one.
    """

    name: str
    kind: str
    params: int
    flops: int


@dataclass(frozen=True)
class FlopsTable:
    """FLOPs and parameters layer by layer.

    Attributes:
        layers: the modules without submodules, in the model's order; all calls of a module count.
        params: of the whole model.
        flops: of the whole model, one multiply-add counted as one. Operations outside the layers (matrix products in a
            ``forward``) are included here and in no layer.
    """

    layers: tuple[LayerFlops, ...]
    params: int
    flops: int

    def __str__(self) -> str:
        rows = [(layer.name, layer.kind, f"{layer.params:,}", f"{layer.flops:,}") for layer in self.layers]
        rows.append(("total", "", f"{self.params:,}", f"{self.flops:,}"))
        heads = ("layer", "type", "params", "FLOPs (one multiply-add is one)")
        widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(4)]
        return printable_lines(
            f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}"
            for row in [heads, *rows]
        )


def flops_table(model: nn.Module, inputs: Tensor | tuple[Any, ...] | Mapping[str, Any]) -> FlopsTable:
    """FLOPs and parameters of every layer; arguments, unit and errors as for :func:`count_flops`.

    Example:
        >>> import torch
        >>> table = flops_table(torch.nn.Conv2d(3, 8, 3, bias=False), torch.zeros(1, 3, 10, 10))
        >>> table.params, table.flops
        (216, 13824)
    """
    check_model(model)
    if not isinstance(inputs, (Tensor, tuple, Mapping)):
        raise TypeError(f"inputs must be a tensor, a tuple or a dict, got {type(inputs).__name__}")
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise ValueError(
            "the model is on the meta device and has no weights: load them, or use model.to_empty(device='cpu')"
        )
    call = next(iter_calls(inputs, model_device(model)))
    with preserve_state(model), without_hooks_of("fvcore", model), torch.no_grad(), warnings.catch_warnings():
        # The tracer warns about every Python number, and torch that the tracer is deprecated.
        warnings.simplefilter("ignore")
        # Not needed to score channels. It scripts a function when imported, which torch deprecates.
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(_Positional(model, call), _tensors(call))
        analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_flops)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        total = analysis.total()
        by_module = analysis.by_module()
    layers = tuple(
        LayerFlops(name, type(module).__name__, count_params(module), int(by_module[f"model.{name}".rstrip(".")]))
        for name, module in model.named_modules()
        if not any(module.children())
    )
    return FlopsTable(layers, count_params(model), int(total))


def _tensors(call: Call) -> tuple[Tensor, ...]:
    return tuple(value for value in (*call.args, *call.kwargs.values()) if isinstance(value, Tensor))


class _Positional(nn.Module):
    """A model that takes the tensors of a call by position, as the tracer requires."""

    def __init__(self, model: nn.Module, call: Call) -> None:
        super().__init__()
        self.model = model
        self._call = call

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors)
        args = [next(given) if isinstance(value, Tensor) else value for value in self._call.args]
        kwargs = {
            name: next(given) if isinstance(value, Tensor) else value for name, value in self._call.kwargs.items()
        }
        # The tracer does not support all containers that models return.
        return tuple(output_tensors(self.model(*args, **kwargs)))


def _attention_flops(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of the two products of scaled dot-product attention; fvcore has no count for the fused operator."""
    query, key, value = (operand.type().sizes() for operand in inputs[:3])
    products = 1
    for size in query[:-1]:
        products *= size
    return int(products * key[-2] * (query[-1] + value[-1]))
