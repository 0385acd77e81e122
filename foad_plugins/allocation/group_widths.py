"""Widths of all groups for a target."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..utils.text import printable_lines

__all__ = ["Allocation", "GroupWidth"]


@dataclass(frozen=True)
class GroupWidth:
    """The width that a group gets.

    Attributes:
        name: the layer whose output channels are counted.
        layers: names of all layers that lose output channels with it.
        before: channels before, all parts together.
        after: channels after.
        parts: the number of equal parts of the channels that lose the same relative indices.
        loss: what the curve gives there.
    """

    name: str
    layers: tuple[str, ...]
    before: int
    after: int
    parts: int
    loss: float

    @property
    def ratio(self) -> float:
        """The share of the channels that is removed, in [0, 1)."""
        return (self.before - self.after) / self.before


@dataclass(frozen=True)
class Allocation:
    """Widths for a target.

    Attributes:
        groups: the width of every group.
        params: share of the parameters that is left, as predicted.
        flops: share of the FLOPs that is left, as predicted; None where they cannot be counted.
        removed: how many channels each group loses, of one part.
    """

    groups: tuple[GroupWidth, ...]
    params: float
    flops: float | None
    removed: tuple[int, ...] = field(repr=False)

    def __str__(self) -> str:
        width = max([len("group"), *(len(group.name) for group in self.groups)])
        lines = [f"{'group':<{width}}  before  after      loss"]
        lines += [f"{g.name:<{width}}  {g.before:>6}  {g.after:>5}  {g.loss:>8.2g}" for g in self.groups]
        flops = "" if self.flops is None else f", {self.flops:.1%} of the FLOPs"
        return printable_lines([*lines, f"{self.params:.1%} of the parameters{flops} are left"])
