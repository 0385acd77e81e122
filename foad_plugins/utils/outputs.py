"""The tensors in the outputs of a model, in any container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

__all__ = ["output_tensors"]


def output_tensors(output: Any) -> list[Tensor]:
    """All tensors in a model's output, each as often as it is there, in a fixed order.

    Searched are tensors, mappings, sequences, everything that ``torch.utils._pytree`` knows, dataclasses, and the
    attributes of other plain objects, at any depth.

    Args:
        output: what the model returned.
    """
    found: list[Tensor] = []
    _gather(output, found, set())
    return found


def _gather(value: Any, found: list[Tensor], above: set[int]) -> None:
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif id(leaf) not in above:
            for part in _parts(leaf):
                _gather(part, found, {*above, id(leaf)})


def _parts(value: Any) -> list[Any]:
    if isinstance(value, (nn.Module, type)):
        return []
    if isinstance(value, Mapping):
        return list(value.values())
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    return list(getattr(value, "__dict__", {}).values())
