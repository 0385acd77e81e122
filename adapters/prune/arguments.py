"""What a pruning call is asked to reach."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

from torch import nn

from ...criterion.ordering import check_order
from ...criterion.selection import validate_rule
from .search import RANKINGS

__all__ = [
    "Goal",
    "Share",
    "check_choices",
    "check_no_target_options",
    "check_ratio",
    "parse_target",
    "resolve_layers",
    "resolve_shares",
    "shares_of",
]

Kind = Literal["rule", "flops", "params", "latency", "pruning_ratio"]

Share = float | Mapping[nn.Module | str, float]


@dataclass(frozen=True)
class Goal:
    """One target.

    Attributes:
        kind: what ``value`` is a share of; ``"rule"`` is the published rule, which takes no share.
        value: for flops, params and latency the share of the original's to end at, in (0, 1); for pruning_ratio the
            share of the channels to remove, in [0, 1).
        neighbors: t of the rule.
        threshold: s of the rule.
    """

    kind: Kind
    value: float = 0.0
    neighbors: int = 1
    threshold: float = 0.0

    def part(self, done: float) -> Goal:
        """The goal of an intermediate step, when a share ``done`` of the way should be covered."""
        if self.kind == "pruning_ratio":
            return Goal(self.kind, self.value * done)
        if self.kind == "rule":
            return self
        return Goal(self.kind, 1 - (1 - self.value) * done)


def parse_target(
    neighbors: int | None,
    threshold: float | None,
    *,
    flops: float | None,
    params: float | None,
    latency: float | None,
    pruning_ratio: float | None,
) -> Goal:
    """The one target that was given; the published rule with its usual parameters if none was.

    Raises:
        TypeError: a target that is no number.
        ValueError: more than one target, or one out of its range.
    """
    targets: dict[Kind, float | None] = {
        "flops": flops,
        "params": params,
        "latency": latency,
        "pruning_ratio": pruning_ratio,
    }
    given: list[str] = [name for name, value in targets.items() if value is not None]
    given += [name for name, value in (("neighbors", neighbors), ("threshold", threshold)) if value is not None]
    chosen: list[Kind] = [name for name, value in targets.items() if value is not None]
    if not chosen:
        return Goal("rule", 0.0, *validate_rule(1 if neighbors is None else neighbors, threshold or 0.0))
    if len(given) > 1:
        raise ValueError(
            f"give one target, got {' and '.join(given)}: flops=, params=, latency=, pruning_ratio=, or neighbors= and "
            "threshold= of the published rule"
        )
    kind = chosen[0]
    value = _number(kind, targets[kind])
    if kind == "pruning_ratio" and not 0 <= value < 1:
        raise ValueError(f"pruning_ratio is the share of channels to remove, in [0, 1), got {value!r}")
    if kind != "pruning_ratio" and not 0 < value < 1:
        raise ValueError(f"{kind} is the share of the original's to end at, above 0 and below 1, got {value!r}")
    return Goal(kind, value)


def check_ratio(name: str, value: object, *, closed: bool) -> float:
    """A share of channels, validated.

    Raises:
        TypeError: no number.
        ValueError: outside [0, 1), or [0, 1] if ``closed``.
    """
    number = _number(name, value)
    if not (0 <= number < 1 or (closed and number == 1)):
        raise ValueError(f"{name} must be shares of channels in [0, 1{']' if closed else ')'}, got {number!r}")
    return number


def check_choices(order: str, ranking: str, round_to: int, steps: int, callback: object) -> None:
    """The other arguments of a pruning call, validated.

    Raises:
        TypeError: no integer, or nothing to call.
        ValueError: an unknown name, or a number below 1.
    """
    check_order(order)
    if ranking not in RANKINGS:
        raise ValueError(f"ranking must be one of {', '.join(map(repr, RANKINGS))}, got {ranking!r}")
    for name, number in (("round_to", round_to), ("steps", steps)):
        if isinstance(number, bool) or not isinstance(number, Integral):
            raise TypeError(f"{name} must be an integer of at least 1, got {number!r}")
        if number < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {number!r}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {callback!r}")


def check_no_target_options(goal: Goal, **given: bool) -> None:
    """Refuse what needs a target beside the published rule.

    Raises:
        ValueError: something was given.
    """
    names = [name for name, value in given.items() if value]
    if goal.kind == "rule" and names:
        raise ValueError(
            f"{' and '.join(names)} can do nothing with the published rule, which decides by itself what goes: give a "
            "target as well, flops=, params=, latency= or pruning_ratio="
        )


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


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
        layer: check_ratio(argument, value, closed=closed) for layer, value in zip(layers, shares.values(), strict=True)
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
