"""Layers and shares of their channels, as users name them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from .goals import Share, check_cap

__all__ = ["resolve_layers", "resolve_shares", "shares_of"]


def resolve_layers(model: nn.Module, layers: Sequence[nn.Module | str] | None, argument: str) -> list[nn.Module]:
    """Layers given as modules or dotted names; None is none.

    Raises:
        TypeError: neither.
        ValueError: a name or module that the model does not have; with the nearest names.
    """
    if layers is not None and not isinstance(layers, (str, nn.Module, Iterable)):
        raise TypeError(f"{argument} takes modules and names, got {layers!r}")
    names: dict[str, Any] = dict(model.named_modules(remove_duplicate=False))
    known = set(names.values())
    resolved: list[nn.Module] = []
    for layer in [layers] if isinstance(layers, (str, nn.Module)) else layers or ():
        if isinstance(layer, str):
            if layer not in names:
                near = difflib.get_close_matches(layer, names, n=3)
                hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
                raise ValueError(f"{argument}: the model has no layer {layer!r}{hint}")
            layer = names[layer]
        elif not isinstance(layer, nn.Module):
            raise TypeError(f"{argument} takes modules and names, got {layer!r}")
        elif layer not in known:
            raise ValueError(f"{argument}: this {type(layer).__name__} is no layer of the model")
        resolved.append(layer)
    return resolved


def resolve_shares(model: nn.Module, shares: Share | None, argument: str, *, closed: bool) -> dict[nn.Module, float]:
    """Shares by layer, as modules, validated."""
    if shares is None:
        return {}
    if not isinstance(shares, Mapping):
        raise TypeError(f"{argument} must be a dict of layers and shares of channels, got {shares!r}")
    layers = resolve_layers(model, list(shares), argument)
    return {
        layer: check_cap(argument, value, closed=closed) for layer, value in zip(layers, shares.values(), strict=True)
    }


def shares_of(shares: Mapping[nn.Module, float], layers: Iterable[nn.Module]) -> list[float]:
    """What is said of some layers, ascending: by the entries of their own, else by the smallest containers around."""
    said: dict[int, set[float]] = {}
    wanted = set(layers)
    for entry, share in shares.items():
        inside = list(entry.modules())
        if not wanted.isdisjoint(inside):
            said.setdefault(len(inside), set()).add(share)
    return sorted(said[min(said)]) if said else []
