"""Pruning in one call, on Torch-Pruning: the published rule removes what it finds redundant, no ratio given."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves
from torch_pruning.dependency import DependencyGraph, Group

from ..batches import Call, as_calls, check_data, is_one_shot, model_device, one_image
from ..capture import ForwardFn
from ..flops import count_flops, count_params
from ..messages import NoEffectWarning, warn
from ..quiet import undisturbed
from ..report import GroupReport, LayerWidth, PruneReport
from .groups import build_graph, bundles, group_name, is_output, prunable_groups
from .torch_pruning import FOADImportance

__all__ = ["prune"]


def prune(
    model: nn.Module,
    data: Any,
    neighbors: int = 1,
    threshold: float = 0.0,
    ignored_layers: Sequence[nn.Module | str] = (),
    *,
    max_batches: int | None = None,
    forward_fn: ForwardFn | None = None,
    progress: bool = False,
) -> PruneReport:
    """Remove from a model, in place, exactly the channels that the published rule removes.

    In every coupled group the rule of :func:`~foad_plugins.greedy_select` is applied to the similarity that
    :class:`~foad_plugins.FOADImportance` measures, and Torch-Pruning removes the channels. Groups that reach the
    model's output keep all channels, so that the output keeps its shape. Afterwards the model runs on one image; if it
    fails or returns other shapes, or anything raises before, the model is left as it was.

    Args:
        model: the network; train flags, frozen parameters and hooks stay as they are.
        data: calibration data as for :class:`~foad_plugins.FOADImportance`.
        neighbors: t, at least 1: how many neighbours may go for each channel kept.
        threshold: s, in [0, 1]: the least similarity at which a channel goes.
        ignored_layers: layers whose output channels all stay, as modules or dotted names.
        max_batches: use so many batches of ``data`` at most; None uses all.
        forward_fn: called as ``forward_fn(model, batch)``, for models that take their inputs in another way.
        progress: show a progress bar while calibrating.

    Returns:
        Widths, removed channels with their keepers, parameters and FLOPs, before and after; print it. FLOPs are
        None where fvcore cannot trace the model, or a ``forward_fn`` calls it.

    Raises:
        TypeError: data of another form.
        ValueError: a parameter out of its range, a name that is no layer of the model, no data, NaN or Inf in a feature
            map, a model without layers to prune or that Torch-Pruning cannot trace, or layers to prune that share
            parameters.
        RuntimeError: Torch-Pruning cannot remove channels from this model.

    Warns:
        UnreadGroupWarning: a group has no feature map that can be read, and stays whole.
        NoEffectWarning: nothing was removed.
    """
    check_data(data)
    importance = FOADImportance(
        neighbors=neighbors,
        threshold=threshold,
        max_batches=max_batches,
        forward_fn=forward_fn,
        progress=progress,
    )
    ignored = _resolve(model, ignored_layers)
    first = next(as_calls(data, model_device(model), 1))
    example = one_image(first)
    importance.data = chain([first.item], data) if is_one_shot(data) else data
    with undisturbed(model):
        graph = build_graph(model, example, forward_fn)
        shapes = _output_shapes(model, example, forward_fn)
    groups = [group for group in prunable_groups(graph, ignored) if not is_output(group)]
    if not groups:
        raise ValueError("the model has no convolution or linear layer whose channels could be pruned")
    plans = [(group, plan) for group in groups if (plan := _plan(importance, group)) is not None]
    changing = [(group, plan) for group, plan in plans if plan.selection.removed]
    _refuse_shared(model, [group for group, _ in changing])
    before = _measure(model, example, forward_fn)
    with _restored_on_error(model):
        for group, plan in changing:
            _remove(graph, group, plan)
        with undisturbed(model):
            if _output_shapes(model, example, forward_fn) != shapes:
                raise RuntimeError("Torch-Pruning changed the shape of the model's output; the model is as it was")
        after = _measure(model, example, forward_fn)
    report = PruneReport(
        layers=tuple(LayerWidth(name, width, after.widths[name]) for name, width in before.widths.items()),
        groups=tuple(plan for _, plan in plans),
        params_before=before.params,
        params_after=after.params,
        flops_before=before.flops,
        flops_after=after.flops,
    )
    if not report.removed:
        warn("nothing was pruned: the rule finds no channel redundant at these parameters", NoEffectWarning)
    return report


def _resolve(model: nn.Module, layers: Sequence[nn.Module | str]) -> list[nn.Module]:
    """Ignored layers as modules, with all that is inside them."""
    names = dict(model.named_modules())
    known = set(names.values())
    resolved: list[nn.Module] = []
    for layer in [layers] if isinstance(layers, (str, nn.Module)) else layers:
        if isinstance(layer, str):
            if layer not in names:
                near = difflib.get_close_matches(layer, names, n=3)
                hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
                raise ValueError(f"ignored_layers: the model has no layer {layer!r}{hint}")
            layer = names[layer]
        elif not isinstance(layer, nn.Module):
            raise TypeError(f"ignored_layers takes modules and names, got {layer!r}")
        elif layer not in known:
            raise ValueError(f"ignored_layers: this {type(layer).__name__} is no layer of the model")
        resolved.extend(layer.modules())
    return resolved


def _plan(importance: FOADImportance, group: Group) -> GroupReport | None:
    selection = importance.selection(group)
    if selection is None:
        return None
    graph = group._DG
    made = [item.dep.target.module for item in group if graph.is_out_channel_pruning_fn(item.dep.handler)]
    names = [graph._module2name[layer] for layer in made if graph._module2name.get(layer)]
    return GroupReport(group_name(group), tuple(dict.fromkeys(names)), selection, bundles(group))


def _refuse_shared(model: nn.Module, groups: list[Group]) -> None:
    """Two layers with one parameter would part ways without a word: each gets a smaller copy of its own."""
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    touched = {item.dep.target.module for group in groups for item in group}
    for module in touched:
        parameters = module.parameters(recurse=False) if isinstance(module, nn.Module) else [module]
        for parameter in parameters:
            names = owners.get(id(parameter), [])
            if len(names) > 1:
                raise ValueError(
                    f"layers {' and '.join(map(repr, names))} share a parameter, which removing channels would split: "
                    "name them in ignored_layers, with the layers that read them"
                )


def _remove(graph: DependencyGraph, group: Group, plan: GroupReport) -> None:
    size = plan.selection.num_channels
    indices = [part * size + channel for part in range(plan.parts) for channel in plan.selection.removed]
    root = group[0].dep
    try:
        cut = graph.get_pruning_group(root.target.module, root.handler, indices)
        if not graph.check_pruning_group(cut):
            raise RuntimeError("a layer of the group would be left without channels")
        cut.prune()
    except Exception as error:
        raise RuntimeError(f"Torch-Pruning cannot remove channels of the group of {plan.name!r}: {error}") from error


@contextmanager
def _restored_on_error(model: nn.Module) -> Iterator[None]:
    """Undo removals if anything raises. Torch-Pruning puts new tensors in place of the old ones, so names suffice."""
    trainable = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    saved = [
        (module, dict(module.__dict__), dict(module._parameters), dict(module._buffers)) for module in model.modules()
    ]
    try:
        yield
    except BaseException:
        for module, attributes, parameters, buffers in saved:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            module._parameters.clear()
            module._parameters.update(parameters)
            module._buffers.clear()
            module._buffers.update(buffers)
        raise
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trainable[name])


@dataclass(frozen=True)
class _Size:
    widths: dict[str, int]
    params: int
    flops: int | None


def _measure(model: nn.Module, example: Call, forward_fn: ForwardFn | None) -> _Size:
    widths = {
        name: module.out_channels if isinstance(module, _ConvNd) else module.out_features
        for name, module in model.named_modules()
        if isinstance(module, (_ConvNd, nn.Linear))
    }
    flops = None
    if forward_fn is None:
        try:
            flops = count_flops(model, example.kwargs or example.args)
        except RuntimeError:
            flops = None
    return _Size(widths, count_params(model), flops)


@torch.no_grad()
def _output_shapes(model: nn.Module, example: Call, forward_fn: ForwardFn | None) -> list[tuple[int, ...]]:
    output = forward_fn(model, example.item) if forward_fn is not None else model(*example.args, **example.kwargs)
    return [tuple(tensor.shape) for tensor in tree_leaves(output) if isinstance(tensor, Tensor)]
