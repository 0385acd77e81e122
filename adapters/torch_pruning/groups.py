"""Torch-Pruning's groups: who reads the channels, how indices map, and which channels go together."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch_pruning.dependency import Group
from torch_pruning.ops import OPTYPE

from ...calibration.observers import ChannelSet, HookPoint

__all__ = [
    "NORMS",
    "full_group",
    "group_name",
    "group_reads",
    "is_output",
    "mean_over_channel_groups",
    "num_channel_groups",
    "of_root",
    "read_columns",
    "rooted_at_reader",
]

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.PReLU)


def group_name(group: Group) -> str:
    """The name of the group's root layer in the model."""
    return str(group._DG._module2name.get(group[0].dep.target.module) or type(group[0].dep.target.module).__name__)


def full_group(group: Group) -> Group:
    """The group over all channels of its root, for one that was made for some of them."""
    channels = _root_channels(group)
    if list(group[0].idxs) == list(range(channels)):
        return group
    return group._DG.get_pruning_group(group[0].dep.target.module, group[0].dep.handler, list(range(channels)))


def rooted_at_reader(group: Group) -> Group | None:
    """The full group seen from the last layer that reads it, which is how Torch-Pruning roots attention layers."""
    readers = [item.dep for item in group if _reads(group, item)]
    if not readers:
        return None
    return full_group(group._DG.get_pruning_group(readers[-1].target.module, readers[-1].handler, [0]))


def _root_channels(group: Group) -> int:
    dep, graph = group[0].dep, group._DG
    count = graph.get_out_channels if graph.is_out_channel_pruning_fn(dep.handler) else graph.get_in_channels
    return int(count(dep.target))


def is_output(group: Group) -> bool:
    """Whether removing channels of the group would change the shape of what the model returns."""
    return any(
        item.dep.target.type == OPTYPE.OUTPUT
        or (not item.dep.target.outputs and group._DG.is_out_channel_pruning_fn(item.dep.handler))
        for item in group
    )


def num_channel_groups(group: Group) -> int:
    """Into how many equal parts the channels fall that must lose the same relative indices.

    These are the groups of grouped convolutions and of GroupNorm, the heads of ``nn.MultiheadAttention``, and what is
    split and then taken together, as the halves whose maximum is a max feature map; where several of them meet, parts
    that suit all.
    """
    counts = [1]
    if any(item.dep.target.type == OPTYPE.SPLIT for item in group):
        root = group[0].dep
        together = of_root(group._DG.get_pruning_group(root.target.module, root.handler, [0]))
        if together == set(range(0, _root_channels(group), _root_channels(group) // len(together))):
            counts.append(len(together))
    for item in group:
        layer = item.dep.target.module
        if isinstance(layer, nn.MultiheadAttention):
            counts.append(layer.num_heads)
        elif isinstance(layer, nn.GroupNorm):
            counts.append(layer.num_groups)
        elif isinstance(layer, _ConvNd) and layer.groups != layer.out_channels:
            counts.append(layer.groups)
    return math.lcm(*counts)


def of_root(group: Group) -> set[int]:
    """The channels of its root that a group holds: more than were asked for where some take others along."""
    root = group[0].dep
    same = [item for item in group if item.dep.target is root.target and item.dep.handler == root.handler]
    return {index for item in same for index in item.idxs}


def group_reads(group: Group) -> ChannelSet:
    """Where the channels of a full group are read, in the order of its root's channels.

    A channel is judged by what its readers see: the inputs of the convolutions and linear layers that take the
    channels in. Where no such layer sees all of them, it is judged by what the layers that make it give out, after
    the normalization that follows.
    """
    channels = _root_channels(group)
    taps = [tap for item in group if _reads(group, item) and (tap := _tap(item, "input", channels)) is not None]
    if not taps:
        items = {item.dep.target.module: item for item in group if isinstance(item.dep.target.module, nn.Module)}
        for item in group:
            if _makes(group, item) and (tap := _tap(_after_norm(item, items), "output", channels)) is not None:
                taps.append(tap)
    return ChannelSet(group_name(group), channels, tuple(taps))


def read_columns(group: Group, channels: Iterable[int]) -> dict[nn.Module, list[int]]:
    """Where some root channels of a full group are read: input channels (features) by convolution or linear layer.

    Unlike :func:`group_reads` this has layers, too, that see a part of the channels only.
    """
    wanted = set(channels)
    columns: dict[nn.Module, list[int]] = {}
    for item in group:
        if _reads(group, item):
            found = [index for index, root in zip(item.idxs, item.root_idxs, strict=True) if root in wanted]
            columns.setdefault(item.dep.target.module, []).extend(found)
    return columns


def _reads(group: Group, item: Any) -> bool:
    graph, handler = group._DG, item.dep.handler
    return (
        isinstance(item.dep.target.module, (_ConvNd, nn.Linear))
        and graph.is_in_channel_pruning_fn(handler)
        and not graph.is_out_channel_pruning_fn(handler)
    )


def _makes(group: Group, item: Any) -> bool:
    layer = isinstance(item.dep.target.module, (_ConvNd, nn.Linear))
    return layer and bool(group._DG.is_out_channel_pruning_fn(item.dep.handler))


def _after_norm(item: Any, items: dict[nn.Module, Any]) -> Any:
    """The item of the last normalization layer (or PReLU) that follows a layer directly, or the layer's own."""
    node = item.dep.target
    while len(node.outputs) == 1 and isinstance(node.outputs[0].module, NORMS) and node.outputs[0].module in items:
        node = node.outputs[0]
    return items[node.module]


def _tap(item: Any, side: Any, channels: int) -> HookPoint | None:
    """The tap at an item's layer, or None where it does not see every channel of the root, and each equally often."""
    held: list[list[int]] = [[] for _ in range(channels)]
    for index, root in zip(item.idxs, item.root_idxs, strict=True):
        if root is None or not 0 <= root < channels:
            return None
        held[root].append(index)
    if len({len(indices) for indices in held}) != 1 or not held[0]:
        return None
    columns = torch.tensor([sorted(indices) for indices in held])
    layer = item.dep.target.module
    width = _width(layer, side)
    if width is not None and int(columns.max()) >= width:
        # Torch-Pruning has lost track of the channels on the way, as behind a pixel shuffle.
        return None
    whole = width == channels and torch.equal(columns[:, 0], torch.arange(channels))
    return HookPoint(layer, side, None if whole else columns)


def _width(layer: nn.Module, side: str) -> int | None:
    names = ("in_channels", "in_features") if side == "input" else ("out_channels", "out_features")
    for name in (*names, "num_features", "num_channels"):
        if hasattr(layer, name):
            return int(getattr(layer, name))
    return None


def mean_over_channel_groups(similarity: Tensor, parts: int) -> Tensor:
    """Mean similarity of relative indices over equal parts: (C, C) to (C / parts, C / parts)."""
    if parts == 1:
        return similarity
    size = len(similarity) // parts
    return similarity.view(parts, size, parts, size).diagonal(dim1=0, dim2=2).mean(-1)
