"""What a user should know of layers that Torch-Pruning does not see, or cannot follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch_pruning.dependency import DependencyGraph

from ..torch_pruning.graph import endless_roots

__all__ = ["unseen_notes"]

_LAYERS = (_ConvNd, nn.Linear, _NormBase)


def unseen_notes(model: nn.Module, graph: DependencyGraph, ignored: Sequence[nn.Module]) -> tuple[str, ...]:
    """Notes for a report, one for each kind of layer that pruning passes by; none is none.

    Args:
        model: the model.
        graph: traced from it.
        ignored: layers that the user has left out already.
    """
    names = {module: name for name, module in model.named_modules()}
    # Attention has layers that it does not call.
    inner = {part for module in graph.module2node if isinstance(module, nn.Module) for part in module.modules()}
    unseen = [names[layer] for layer in names if isinstance(layer, _LAYERS) and layer not in inner]
    endless = [names[layer] for layer in endless_roots(graph, list(ignored)) if layer in names]
    notes = []
    if unseen:
        notes.append(
            f"{_listed(unseen)} did not run as layers when the model was traced, and stay as they are: what runs them "
            "elsewhere, such as auxiliary heads in train mode, may not fit any more"
        )
    if endless:
        notes.append(f"Torch-Pruning would find no end to the groups of {_listed(endless)}, which stay whole")
    return tuple(notes)


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    return f"{', '.join(map(repr, known[:5]))}{f' and {len(known) - 5} others' if len(known) > 5 else ''}"
