"""Sensitivity: the loss that each share of each group's channels costs, measured once and used for any target."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ..utils.files import write_atomically
from ..utils.text import printable_lines
from .costs import LayerCosts
from .figure import sensitivity_figure
from .group_curve import GroupCurve, allowed_counts
from .group_widths import Allocation, GroupWidth
from .identity import model_digest
from .widths import TOLERANCE, Budget, allocate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Sensitivity"]

_FORMAT = "foad-plugins sensitivity 1"


@dataclass(frozen=True)
class Sensitivity:
    """Curves of loss for all coupled groups of a model, for any target.

    :func:`~foad_plugins.sensitivity` measures them. They hold no part of the model, and can be saved as JSON.

    Attributes:
        groups: one curve for each group that can be pruned.
        costs: cost of the model by the channels that each group loses.
        loss: what was measured: ``"output"``, ``"kl"`` or the name of a function.
        images: how many images the loss was measured on; None where batches do not tell.
        passes: forward passes of a batch that all probes took together, divided by the batches of the data.
        seconds: that measuring took.
        digest: of the model's parameters and buffers.
        notes: what a user should know besides, one sentence each.
    """

    groups: tuple[GroupCurve, ...]
    costs: LayerCosts
    loss: str
    images: int | None
    passes: float
    seconds: float
    digest: str
    notes: tuple[str, ...] = ()

    def check(self, model: nn.Module) -> None:
        """Check that the curves belong to a model.

        Raises:
            ValueError: the model's parameters or buffers are not those of the model that was measured.
        """
        if model_digest(model) != self.digest:
            raise ValueError(
                "these sensitivity curves belong to another model, or its weights have changed since: measure again "
                "with sensitivity(model, data)"
            )

    def widths(
        self,
        *,
        flops: float | None = None,
        params: float | None = None,
        pruning_ratio: float | None = None,
        round_to: int = 1,
        max_pruning_ratio: float | Mapping[str, float] = 1.0,
        pruning_ratio_dict: Mapping[str, float] | None = None,
    ) -> Allocation:
        """The widths of least loss for a target, met as nearly as whole channels allow.

        Args:
            flops: share of the FLOPs to keep, in (0, 1).
            params: share of the parameters to keep, in (0, 1); beside ``flops`` both targets are met.
            pruning_ratio: share of all channels to remove, in [0, 1); alone.
            round_to: widths of the groups are multiples of this, or unchanged.
            max_pruning_ratio: the largest share that a group may lose, in [0, 1]; or a dict of such shares by name of a
                layer in the group.
            pruning_ratio_dict: the share in [0, 1) that a group loses whatever the target, by name of a layer in it.

        Raises:
            TypeError: a number of another type.
            ValueError: no target, ``pruning_ratio`` beside another target, a number out of its range, a name of no
                group, FLOPs that cannot be counted, or a target that cannot be met.
        """
        budgets = self._budgets(flops, params, pruning_ratio)
        caps = self._by_group("max_pruning_ratio", max_pruning_ratio, 1.0)
        fixed = self._by_group("pruning_ratio_dict", pruning_ratio_dict or {}, -1.0)
        if isinstance(round_to, bool) or not isinstance(round_to, Integral) or round_to < 1:
            raise ValueError(f"round_to must be an integer of at least 1, got {round_to!r}")
        allowed: list[list[int]] = []
        start: list[int] = []
        for number, curve in enumerate(self.groups):
            counts = allowed_counts(curve.channels, curve.parts, int(round_to), caps[number], curve.limit)
            wanted = math.ceil(curve.channels * fixed[number] - 1e-9) if fixed[number] > 0 else 0
            start.append(next((count for count in [0, *counts] if count >= wanted), max(counts, default=0)))
            allowed.append([] if fixed[number] >= 0 else counts)
        most = [max(counts, default=begin) for counts, begin in zip(allowed, start, strict=True)]
        for budget in budgets:
            left = budget.cost(most)
            if left > budget.share + 2 * TOLERANCE:
                raise ValueError(
                    f"{budget.name} cannot be met: with all that may be removed, {left:.1%} of the original's "
                    f"{budget.unit} are left (round_to, max_pruning_ratio, pruning_ratio_dict and the groups without a "
                    "curve set that floor)"
                )
        removed = allocate([curve.loss for curve in self.groups], allowed, start, budgets)
        return self._allocation(removed)

    def ratios(self, model: nn.Module, **targets: Any) -> dict[nn.Module, float]:
        """The share to remove from every group, for ``MetaPruner(..., pruning_ratio=0.0, pruning_ratio_dict=...)``.

        Args:
            model: the model that was measured.
            targets: as for :meth:`widths`.

        Returns:
            The ratio of every layer that loses output channels with a group, those of 0 included.

        Raises:
            ValueError: curves of another model; and as :meth:`widths`.
        """
        self.check(model)
        ratios = {}
        for group in self.widths(**targets).groups:
            # MetaPruner keeps int(channels * (1 - ratio)), which rounding can leave one short.
            ratio = group.ratio - 1e-9 if group.after < group.before else 0.0
            ratios.update({model.get_submodule(name): ratio for name in group.layers})
        return ratios

    def plot(self, allocation: Allocation | None = None) -> Figure:
        """The curves as small panels, with the chosen widths marked.

        Args:
            allocation: what :meth:`widths` gave; None marks nothing.

        Raises:
            ImportError: Matplotlib is not installed (extra ``plot``).
        """
        return sensitivity_figure(self.groups, None if allocation is None else allocation.removed)

    def save(self, path: str | Path) -> Path:
        """Write the curves as JSON; a file that is there is replaced.

        Raises:
            OSError: the file cannot be written.
        """
        content = {"format": _FORMAT, **asdict(self)}
        write_atomically(Path(path), json.dumps(content, indent=1, allow_nan=False).encode())
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module | None = None) -> Sensitivity:
        """Read curves that :meth:`save` wrote.

        Args:
            path: the file.
            model: the model that they must belong to; None checks nothing.

        Raises:
            OSError: the file cannot be read.
            ValueError: it holds no sensitivity curves, or those of another model.
        """
        try:
            content = json.loads(Path(path).read_text("utf-8"))
            if content.pop("format") != _FORMAT:
                raise ValueError("another format")
            loaded = cls(
                **{
                    **content,
                    "groups": tuple(GroupCurve.from_dict(group) for group in content["groups"]),
                    "costs": LayerCosts.from_dict(content["costs"]),
                    "notes": tuple(map(str, content["notes"])),
                }
            )
            if loaded.costs.groups != len(loaded.groups):
                raise ValueError("costs of other groups")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} holds no sensitivity curves of this version: {error}") from error
        if model is not None:
            loaded.check(model)
        return loaded

    def __str__(self) -> str:
        width = max([len("group"), *(len(curve.name) for curve in self.groups)])
        lines = [f"{'group':<{width}}  channels  loss at 1/4     1/2     3/4"]
        for curve in self.groups:
            losses = [curve.loss(round(curve.channels * share)) for share in (0.25, 0.5, 0.75)]
            row = "  ".join(f"{loss:>6.2g}" for loss in losses)
            lines.append(f"{curve.name:<{width}}  {curve.channels * curve.parts:>8}       {row}")
        measured = sum(sum(curve.measured) for curve in self.groups)
        lines.append(
            f"{measured} losses ({self.loss}) measured, {self.passes:.1f} forward passes, {self.seconds:.1f} s"
        )
        return printable_lines([*lines, *(f"note: {note}" for note in self.notes)])

    def _budgets(self, flops: float | None, params: float | None, pruning_ratio: float | None) -> list[Budget]:
        values = {"flops": flops, "params": params, "pruning_ratio": pruning_ratio}
        targets = {name: _number(name, value) for name, value in values.items() if value is not None}
        if not targets or (pruning_ratio is not None and len(targets) > 1):
            raise ValueError("give flops=, params=, both of them, or pruning_ratio= alone as the target")
        budgets = []
        for name, value in targets.items():
            if not (0 < value < 1 or (name == "pruning_ratio" and value == 0)):
                raise ValueError(f"{name} must be a share above 0 and below 1, got {value!r}")
            given = f"{name}={value:g}"
            if name == "pruning_ratio":
                budgets.append(Budget(given, "channels", self._channels_left, 1 - value))
            elif name == "params":
                budgets.append(Budget(given, "parameters", self._params_left, value))
            elif self.costs.flops:
                budgets.append(Budget(given, "FLOPs", self._flops_left, value))
            else:
                raise ValueError("the FLOPs of this model could not be counted: give params= or pruning_ratio=")
        return budgets

    def _flops_left(self, removed: Sequence[int]) -> float:
        return (self.costs.at(removed).flops or 0.0) / (self.costs.flops or 1.0)

    def _params_left(self, removed: Sequence[int]) -> float:
        return self.costs.at(removed).params / self.costs.params

    def _channels_left(self, removed: Sequence[int]) -> float:
        total = sum(curve.channels * curve.parts for curve in self.groups)
        return 1 - sum(n * curve.parts for n, curve in zip(removed, self.groups, strict=True)) / max(1, total)

    def _by_group(self, argument: str, given: float | Mapping[str, float], other: float) -> list[float]:
        if not isinstance(given, Mapping):
            given, other = {}, _share(argument, given)
        known = {name for curve in self.groups for name in curve.layers}
        for name, share in given.items():
            if name not in known:
                raise ValueError(f"{argument}: {name!r} is no layer of a group that was measured")
            _share(argument, share)
        return [min((given[name] for name in curve.layers if name in given), default=other) for curve in self.groups]

    def _allocation(self, removed: Sequence[int]) -> Allocation:
        groups = tuple(
            GroupWidth(
                curve.name,
                curve.layers,
                curve.channels * curve.parts,
                (curve.channels - count) * curve.parts,
                curve.parts,
                curve.loss(count),
            )
            for curve, count in zip(self.groups, removed, strict=True)
        )
        flops = self._flops_left(removed) if self.costs.flops else None
        return Allocation(groups, self._params_left(removed), flops, tuple(removed))


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def _share(name: str, value: object) -> float:
    number = _number(name, value)
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must hold shares of channels in [0, 1], got {number!r}")
    return number
