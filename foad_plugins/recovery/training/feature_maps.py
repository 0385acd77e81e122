"""Outputs of inner layers, and which of them two networks have in the same shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ...utils.outputs import output_tensors

__all__ = ["layer_outputs", "matching_layers", "name_fits", "unchanged_layers"]


@contextmanager
def layer_outputs(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
    """Collect what layers return in the calls made inside.

    Args:
        model: the network.
        names: dotted names of its modules.

    Yields:
        By name, the outputs of the calls so far, in order; a layer that did not run is absent.
    """
    outputs: dict[str, list[Any]] = {}

    def hook_for(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs.setdefault(name, []).append(output)

        return hook

    handles = []
    try:
        for name in names:
            handles.append(model.get_submodule(name).register_forward_hook(hook_for(name)))
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def name_fits(name: str, pattern: str) -> bool:
    """Whether a dotted name fits a pattern, in which ``*`` stands for anything but a dot."""
    return name.count(".") == pattern.count(".") and fnmatchcase(name, pattern)


def matching_layers(model: nn.Module, original: nn.Module, patterns: Sequence[str]) -> tuple[str, ...]:
    """Modules that both networks have, by patterns as in :func:`name_fits`, in the order of the network.

    Raises:
        ValueError: a pattern fits no module that both have.
    """
    both = _in_both(model, original)
    for pattern in patterns:
        if not any(name_fits(name, pattern) for name in both):
            raise ValueError(f"feature_layers: {pattern!r} fits no layer that both networks have")
    return tuple(name for name in both if any(name_fits(name, pattern) for pattern in patterns))


def unchanged_layers(
    model: nn.Module, original: nn.Module, run_model: Callable[[], Any], run_original: Callable[[], Any]
) -> tuple[str, ...]:
    """The layers whose feature maps pruning did not make narrower, such as the blocks of a residual network.

    A block counts as one layer and nothing inside it is used, because the parts of a sum may change when the sum does
    not. A module that repeats blocks is replaced by its blocks. Of convolution, normalization and activation in a row,
    the last is used. Layers that give the network's own output, that run more than once, or whose output is not one
    floating-point tensor are not used.

    Args:
        model: the pruned network.
        original: the network before pruning.
        run_model: calls ``model`` on some images and returns its output.
        run_original: the same for ``original``, with the same images.
    """
    names = _in_both(model, original)
    with torch.no_grad(), layer_outputs(model, names) as found, layer_outputs(original, names) as wanted:
        with _layer_inputs(model, names) as inputs:
            final = {id(tensor) for tensor in output_tensors(run_model())}
        run_original()
    same = {
        name: found[name][0]
        for name in names
        if _is_one_map(found.get(name))
        and _is_one_map(wanted.get(name))
        and found[name][0].shape == wanted[name][0].shape
        and id(found[name][0]) not in final
    }
    modules = dict(model.named_modules())
    chosen = _blocks_and_layers(model, "", same)
    repeated = {
        id(inputs[name])
        for name in chosen
        if name in inputs and _is_leaf(modules[name]) and not isinstance(modules[name], (_ConvNd, nn.Linear))
    }
    return tuple(name for name in chosen if not (_is_leaf(modules[name]) and id(same[name]) in repeated))


def _in_both(model: nn.Module, original: nn.Module) -> list[str]:
    there = {name for name, _ in original.named_modules()}
    return [name for name, _ in model.named_modules() if name and name in there]


def _blocks_and_layers(module: nn.Module, name: str, same: Mapping[str, Tensor]) -> list[str]:
    inside = [
        found
        for child, part in module.named_children()
        for found in _blocks_and_layers(part, f"{name}.{child}" if name else child, same)
    ]
    if name not in same or type(module).forward is nn.Sequential.forward:
        return inside
    parts = [module.get_submodule(found.removeprefix(f"{name}.")) for found in inside]
    blocks = [type(part) for part in parts if not _is_leaf(part)]
    return inside if len(blocks) > len(set(blocks)) else [name]


@contextmanager
def _layer_inputs(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The first tensor that each layer is called with; it is kept alive, so that its identity holds."""
    inputs: dict[str, Tensor] = {}

    def hook_for(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], Tensor):
                inputs[name] = args[0]

        return hook

    handles = []
    try:
        for name in names:
            handles.append(model.get_submodule(name).register_forward_pre_hook(hook_for(name)))
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


def _is_one_map(outputs: list[Any] | None) -> bool:
    if outputs is None or len(outputs) != 1 or not isinstance(outputs[0], Tensor):
        return False
    return outputs[0].is_floating_point() and outputs[0].dim() >= 2


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None
