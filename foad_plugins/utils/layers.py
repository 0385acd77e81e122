"""Inputs and widths of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

__all__ = ["channel_axis", "first_input", "layer_width"]

_WIDTHS = {
    "input": ("in_channels", "in_features", "num_features", "num_channels"),
    "output": ("out_channels", "out_features", "num_features", "num_channels"),
}


def first_input(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The first argument that a layer was called with: positional, or by torch's name ``input``; None if neither."""
    return args[0] if args else kwargs.get("input")


def layer_width(layer: nn.Module, side: str) -> int | None:
    """Channels (features) at the ``"input"`` or ``"output"`` of a layer; None if the layer has no such attribute."""
    return next((int(getattr(layer, name)) for name in _WIDTHS[side] if hasattr(layer, name)), None)


def channel_axis(layer: nn.Module) -> int:
    """The axis of the channels (features) in a layer's input."""
    return -1 if isinstance(layer, (nn.Linear, nn.RNNBase)) else 1
