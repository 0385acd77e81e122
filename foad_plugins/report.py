"""What a pruning call did, as data that prints itself."""

from __future__ import annotations

from dataclasses import dataclass

from .selection import Selection

__all__ = ["GroupReport", "LayerWidth", "PruneReport"]


@dataclass(frozen=True)
class LayerWidth:
    """Output channels (or features) of a layer.

    Attributes:
        name: dotted name in the model.
        before: width before pruning.
        after: width after pruning.
    """

    name: str
    before: int
    after: int


@dataclass(frozen=True)
class GroupReport:
    """One coupled group: channels that can only go together.

    Attributes:
        name: the layer whose output channels the indices of ``selection`` mean.
        layers: names of all layers that lost channels with it, the root first.
        selection: the channels kept and removed, and each removed channel's keeper. Where channels fall into
            ``parts`` equal parts that lose the same relative indices (grouped convolutions), indices within a part.
        parts: the number of such parts; 1 for ordinary groups.
    """

    name: str
    layers: tuple[str, ...]
    selection: Selection
    parts: int = 1


@dataclass(frozen=True)
class PruneReport:
    """What :func:`~foad_plugins.prune` removed.

    Attributes:
        layers: widths of all convolutions and linear layers, in the model's order.
        groups: the coupled groups that were looked at, each with its channels and their keepers.
        params_before: parameters before pruning.
        params_after: parameters after pruning.
        flops_before: FLOPs for one image before pruning, one multiply-add counted as one; None if not countable.
        flops_after: the same after pruning.
    """

    layers: tuple[LayerWidth, ...]
    groups: tuple[GroupReport, ...]
    params_before: int
    params_after: int
    flops_before: int | None
    flops_after: int | None

    @property
    def removed(self) -> int:
        """Channels removed, counted at the groups' roots."""
        return sum(len(group.selection.removed) * group.parts for group in self.groups)

    def __str__(self) -> str:
        total = sum(group.selection.num_channels * group.parts for group in self.groups)
        width = max([len("layer"), *(len(layer.name) for layer in self.layers)])
        lines = [f"{'layer':<{width}}  before  after"]
        for layer in self.layers:
            after = layer.after if layer.after != layer.before else ""
            lines.append(f"{layer.name:<{width}}  {layer.before:>6}  {after:>5}".rstrip())
        lines += [
            f"{self.removed} of {total} channels removed in {len(self.groups)} coupled groups",
            f"params {self.params_before:,} -> {self.params_after:,} "
            f"({_change(self.params_before, self.params_after)})",
        ]
        if self.flops_before is not None and self.flops_after is not None:
            change = _change(self.flops_before, self.flops_after)
            counted = f"{self.flops_before:,} -> {self.flops_after:,} ({change})"
            lines.append(f"FLOPs  {counted}, one image, one multiply-add is one")
        return "\n".join(lines)


def _change(before: int, after: int) -> str:
    return f"{100 * (after - before) / before:+.1f} %" if before else "none"
