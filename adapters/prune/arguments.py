"""The arguments of a pruning call, validated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

from torch import nn

from ...criterion.ordering import check_order
from ...criterion.selection import validate_rule
from ...utils.text import did_you_mean
from .search import RANKINGS, Ranking

__all__ = [
    "Ratio",
    "Target",
    "check_choices",
    "check_no_target_options",
    "check_ratio",
    "choose_ranking",
    "parse_target",
    "ratios_of",
    "resolve_layers",
    "resolve_ratios",
]

Kind = Literal["rule", "flops", "params", "latency", "pruning_ratio"]

Ratio = float | Mapping[nn.Module | str, float]


@dataclass(frozen=True)
class Target:
    """What a pruning call should reach.

    Attributes:
        kind: what ``value`` is a share of; ``"rule"`` is the published rule, which has no share.
        value: for flops, params and latency the share of the original's to keep, in (0, 1); for pruning_ratio the
            share of the channels to remove, in [0, 1).
        neighbors: t of the rule.
        threshold: s of the rule.
        params: beside flops, the share of the parameters to keep, in (0, 1); None for one target.
    """

    kind: Kind
    value: float = 0.0
    neighbors: int = 1
    threshold: float = 0.0
    params: float | None = None

    def at_step(self, done: float) -> Target:
        """The target of an intermediate step, when a share ``done`` of the way should be covered."""
        if self.kind == "pruning_ratio":
            return Target(self.kind, self.value * done)
        if self.kind == "rule":
            return self
        params = None if self.params is None else 1 - (1 - self.params) * done
        return Target(self.kind, 1 - (1 - self.value) * done, params=params)

    @property
    def shares(self) -> dict[str, float]:
        """The shares of FLOPs and parameters to keep, by name; empty where the target is another one."""
        shares: dict[str, float] = {self.kind: self.value} if self.kind in ("flops", "params") else {}
        return shares if self.params is None else {**shares, "params": self.params}

    def __str__(self) -> str:
        shares = self.shares or {self.kind: self.value}
        return " and ".join(f"{name}={value:g}" for name, value in shares.items())


def parse_target(
    neighbors: int | None,
    threshold: float | None,
    *,
    flops: float | None,
    params: float | None,
    latency: float | None,
    pruning_ratio: float | None,
) -> Target:
    """The target that was given, or ``flops`` and ``params`` together; the published rule if none was.

    Raises:
        TypeError: a target is not a number.
        ValueError: other targets together, or one out of its range.
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
        return Target("rule", 0.0, *validate_rule(1 if neighbors is None else neighbors, threshold or 0.0))
    if len(given) > 1 and given != ["flops", "params"]:
        raise ValueError(
            f"give one target, got {' and '.join(given)}: flops=, params=, latency=, pruning_ratio=, or neighbors= and "
            "threshold= of the published rule; only flops= and params= can be given together"
        )
    values = {kind: _number(kind, targets[kind]) for kind in chosen}
    for kind, value in values.items():
        if kind == "pruning_ratio" and not 0 <= value < 1:
            raise ValueError(f"pruning_ratio is the share of channels to remove, in [0, 1), got {value!r}")
        if kind != "pruning_ratio" and not 0 < value < 1:
            raise ValueError(f"{kind} is the share of the original's to keep, above 0 and below 1, got {value!r}")
    return Target(chosen[0], values[chosen[0]], params=values["params"] if len(chosen) > 1 else None)


def check_ratio(name: str, value: object, *, closed: bool) -> float:
    """A share of channels, validated.

    Raises:
        TypeError: not a number.
        ValueError: outside [0, 1), or [0, 1] if ``closed``.
    """
    number = _number(name, value)
    if not (0 <= number < 1 or (closed and number == 1)):
        raise ValueError(f"{name} must be shares of channels in [0, 1{']' if closed else ')'}, got {number!r}")
    return number


def choose_ranking(ranking: Ranking | None, target: Target) -> Ranking:
    """How groups compete: as given, else by sensitivity for a cost, and by equal shares for a pruning ratio.

    Raises:
        ValueError: an unknown name, or another ranking than by sensitivity for two targets.
    """
    if ranking is not None and ranking not in RANKINGS:
        raise ValueError(f"ranking must be one of {', '.join(map(repr, RANKINGS))}, got {ranking!r}")
    if len(target.shares) == 2:
        if ranking not in (None, "sensitivity"):
            raise ValueError(
                f"flops= and params= together need ranking='sensitivity', which weighs both costs, got {ranking!r}"
            )
        return "sensitivity"
    return ranking or ("sensitivity" if target.kind in ("flops", "params", "latency") else "local")


def check_choices(
    order: str, round_to: int, steps: int, callback: object, on_wrong_removal: object, max_trace_seconds: object
) -> None:
    """The other arguments of a pruning call, validated.

    Raises:
        TypeError: not an integer, or not callable.
        ValueError: an unknown name, or a number below 1.
    """
    check_order(order)
    for name, number in (("round_to", round_to), ("steps", steps)):
        if isinstance(number, bool) or not isinstance(number, Integral):
            raise TypeError(f"{name} must be an integer of at least 1, got {number!r}")
        if number < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {number!r}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {callback!r}")
    if on_wrong_removal not in ("keep", "error"):
        raise ValueError(f"on_wrong_removal must be 'keep' or 'error', got {on_wrong_removal!r}")
    if isinstance(max_trace_seconds, bool) or not isinstance(max_trace_seconds, Real):
        raise TypeError(f"max_trace_seconds must be a number above 0, got {max_trace_seconds!r}")
    if not float(max_trace_seconds) > 0:
        raise ValueError(f"max_trace_seconds must be a number above 0, got {max_trace_seconds!r}")


def check_no_target_options(target: Target, **given: bool) -> None:
    """Refuse options of a target where there is none, but the published rule.

    Raises:
        ValueError: something was given.
    """
    names = [name for name, value in given.items() if value]
    if target.kind == "rule" and names:
        raise ValueError(
            f"{' and '.join(names)} has no effect with the published rule, which decides by itself what is removed: "
            "give a target as well, flops=, params=, latency= or pruning_ratio="
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
                raise ValueError(f"{argument}: the model has no layer {layer!r}{did_you_mean(layer, names)}")
            layer = names[layer]
        elif not isinstance(layer, nn.Module):
            raise TypeError(f"{argument} takes modules and names, got {layer!r}")
        elif layer not in known:
            raise ValueError(f"{argument}: this {type(layer).__name__} is no layer of the model")
        resolved.append(layer)
    return resolved


def resolve_ratios(model: nn.Module, ratios: Ratio | None, argument: str, *, closed: bool) -> dict[nn.Module, float]:
    """Ratios by layer, as modules, validated."""
    if ratios is None:
        return {}
    if not isinstance(ratios, Mapping):
        raise TypeError(f"{argument} must be a dict of layers and shares of channels, got {ratios!r}")
    layers = resolve_layers(model, list(ratios), argument)
    return {
        layer: check_ratio(argument, value, closed=closed) for layer, value in zip(layers, ratios.values(), strict=True)
    }


def ratios_of(ratios: Mapping[nn.Module, float], layers: Iterable[nn.Module]) -> list[float]:
    """The ratios of some layers, ascending: of their own entries, else of the smallest containers around them."""
    found: dict[int, set[float]] = {}
    wanted = set(layers)
    for entry, ratio in ratios.items():
        inside = list(entry.modules())
        if not wanted.isdisjoint(inside):
            found.setdefault(len(inside), set()).add(ratio)
    return sorted(found[min(found)]) if found else []
