"""Whether layers that follow each other fit, as far as torch.fx can follow the code of a network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch.nn.modules import activation, dropout, padding, pooling, upsampling
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

__all__ = ["consecutive_problem"]


class _Width(NamedTuple):
    """Channels of a value: on axis 1 (``"map"``), on the last axis (``"last"``), or in flattened maps (``"flat"``)."""

    kind: str
    channels: int
    layer: str


class _MisfitError(Exception):
    pass


_RESHAPING = (activation.GLU, activation.MultiheadAttention)
_ELEMENTWISE = tuple(
    kind
    for module in (activation, dropout)
    for kind in vars(module).values()
    if isinstance(kind, type) and kind.__module__ == module.__name__ and kind not in _RESHAPING
)
# These change the last axis.
_SPATIAL = tuple(
    kind
    for module in (pooling, upsampling, padding)
    for kind in vars(module).values()
    if isinstance(kind, type) and kind.__module__ == module.__name__
)
_SAME = {
    "relu",
    "relu6",
    "gelu",
    "silu",
    "sigmoid",
    "tanh",
    "leaky_relu",
    "hardswish",
    "dropout",
    "contiguous",
    "clone",
}
_SAME_MAP = {"max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "interpolate"}
_BROADCAST = {"add", "iadd", "sub", "mul", "imul"}


def consecutive_problem(model: nn.Module) -> str | None:
    """The first two layers of a network whose widths do not fit each other; None where none is found.

    The code of the network runs on a copy without data, by ``torch.fx``. Nothing is found where that fails, nor between
    layers with other operations than activations, normalization, pooling, sums, products, concatenations, flattening.
    """
    try:
        # Parameters are shared with the copy: only its attributes and buffers may change.
        network = copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            graph = fx.Tracer().trace(network.eval())
    # The code of a network may raise anything for values without data.
    except Exception:
        return None
    widths: dict[fx.Node, _Width | None] = {}
    modules = dict(network.named_modules())
    try:
        for node in graph.nodes:
            found = [widths.get(source) if isinstance(source, fx.Node) else None for source in node.args]
            if node.op == "call_module":
                first = found[0] if found else None
                widths[node] = _through_module(modules[str(node.target)], str(node.target), first)
            elif node.op in ("call_function", "call_method"):
                widths[node] = _through_function(node, found, widths.get)
    except _MisfitError as error:
        return str(error)
    return None


def _through_module(layer: Any, name: str, given: _Width | None) -> _Width | None:
    if isinstance(layer, _ConvNd):
        _check(given, "map", layer.in_channels, name)
        return _Width("map", layer.out_channels, name)
    if isinstance(layer, nn.Linear):
        _check(given, "last", layer.in_features, name)
        if given is not None and given.kind == "flat" and layer.in_features % given.channels:
            raise _misfit(given, layer.in_features, name)
        return _Width("last", layer.out_features, name)
    if isinstance(layer, (_BatchNorm, nn.GroupNorm, nn.PReLU)):
        width = next(
            getattr(layer, of) for of in ("num_features", "num_channels", "num_parameters") if hasattr(layer, of)
        )
        if not (isinstance(layer, nn.PReLU) and width == 1):
            _check(given, "map", width, name)
        return given
    if isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        _check(given, "last", layer.normalized_shape[-1], name)
        return given
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1):
        return _flattened(given)
    if isinstance(layer, (nn.Identity, *_ELEMENTWISE)) or (
        given and given.kind == "map" and isinstance(layer, _SPATIAL)
    ):
        return given
    return None


def _through_function(
    node: fx.Node, found: list[_Width | None], width_of: Callable[[Any], _Width | None]
) -> _Width | None:
    name = str(getattr(node.target, "__name__", node.target)).strip("_")
    first = found[0] if found else None
    if name in _SAME or (name in _SAME_MAP and first is not None and first.kind == "map"):
        return first
    if name == "flatten" and (*node.args[1:], *node.kwargs.values()) == (1,):
        return _flattened(first)
    if name in _BROADCAST:
        return _broadcast(found)
    if name == "cat":
        parts = [width_of(part) for part in node.args[0]] if isinstance(node.args[0], (list, tuple)) else []
        axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        known = [part for part in parts if part is not None and (part.kind, axis) in (("map", 1), ("last", -1))]
        if known and len(known) == len(parts):
            return _Width(known[0].kind, sum(part.channels for part in known), known[0].layer)
    return None


def _broadcast(found: list[_Width | None]) -> _Width | None:
    """Of a sum or a product; a term of one channel counts for all."""
    wide = [term for term in found if term is not None and term.channels > 1]
    if len({term.kind for term in wide}) != 1:
        return None
    for term in wide[1:]:
        if term.channels != wide[0].channels and term.kind != "flat":
            raise _misfit(wide[0], term.channels, term.layer)
    return wide[0]


def _flattened(given: _Width | None) -> _Width | None:
    return None if given is None or given.kind != "map" else given._replace(kind="flat")


def _check(given: _Width | None, kind: str, width: int, name: str) -> None:
    if given is not None and given.kind == kind and given.channels != width:
        raise _misfit(given, width, name)


def _misfit(given: _Width, width: int, name: str) -> _MisfitError:
    return _MisfitError(
        f"layers {given.layer!r:.60} and {name!r:.60} do not fit each other: {given.channels} and {width}"
    )
