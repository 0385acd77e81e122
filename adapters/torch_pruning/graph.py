"""The dependency graph of a model, built and taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch_pruning.dependency import DependencyGraph, Group

from ...calibration.collect import ForwardFn, require_batch_dim
from ...calibration.data import Call
from ...calibration.preserve import without_hooks_of
from ...utils.outputs import output_tensors
from .nonterminating import endless_layers

_ROOTS = (tp.ops.TORCH_CONV, tp.ops.TORCH_LINEAR, tp.ops.TORCH_LSTM)


def build_graph(model: nn.Module, call: Call, forward_fn: ForwardFn | None = None) -> DependencyGraph:
    """Trace a model, frozen or not, into Torch-Pruning's dependency graph.

    Raises:
        ValueError: Torch-Pruning fails on the model, or there is no tensor in what it returns. What the model's own
            forward raises comes through as it is.
    """
    ran = False

    def forward(network: nn.Module, _: Any) -> list[Tensor]:
        nonlocal ran
        output = forward_fn(network, call.batch) if forward_fn is not None else network(*call.args, **call.kwargs)
        tensors = output_tensors(output)
        if not tensors:
            raise ValueError(f"the model returns no tensor, and nothing that holds one, but a {type(output).__name__}")
        ran = True
        # Torch-Pruning takes for an output only what no other output was made from.
        return [tensor.clone() for tensor in tensors]

    kept = without_hooks_of("torch_pruning", model)
    with kept, torch.enable_grad(), _trainable(model), require_batch_dim(model), _nothing_saved():
        # Weights that autocast has kept from a run without gradients have no place in a graph.
        torch.clear_autocast_cache()
        try:
            return DependencyGraph().build_dependency(model, call.batch, forward_fn=forward, verbose=False)
        except Exception as error:
            if not ran:
                raise
            raise ValueError(f"Torch-Pruning cannot trace the model: {error!r}") from error


def dissolve(graph: DependencyGraph) -> None:
    """Take a graph of our own apart, whose nodes hold each other, so that its memory is free at once."""
    for node in list(graph.module2node.values()):
        for links in (node.inputs, node.outputs, node.dependencies):
            links.clear()
    graph.module2node.clear()


def _nothing_saved() -> saved_tensors_hooks:
    """Keep no activations for a backward pass, which never comes: of the graph only its shape is read."""
    return saved_tensors_hooks(lambda tensor: None, _never)


def _never(nothing: None) -> Tensor:
    raise RuntimeError("a graph that was traced to be read has no activations to go backward with")


@contextmanager
def _trainable(model: nn.Module) -> Iterator[None]:
    """Let gradients flow to all parameters, since the graph is read off autograd; afterwards as before."""
    frozen = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def prunable_groups(graph: DependencyGraph, ignored_layers: list[nn.Module]) -> list[Group]:
    """All groups with their full indices, but those that an ignored or an endless layer belongs to."""
    left_out = [*ignored_layers, *endless_roots(graph, ignored_layers)]
    return list(graph.get_all_groups(ignored_layers=left_out, root_module_types=_ROOTS))


def endless_roots(graph: DependencyGraph, ignored_layers: list[nn.Module]) -> list[nn.Module]:
    """Layers, none of them ignored, that begin no group since Torch-Pruning would never have it together."""
    ignored = set(ignored_layers)
    return endless_layers(
        graph, [root for root in graph.module2node if isinstance(root, _ROOTS) and root not in ignored]
    )
