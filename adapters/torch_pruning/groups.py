"""Torch-Pruning's coupled groups: where their channels are observed, consumed and produced."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch_pruning.dependency import DependencyGraph, Group
from torch_pruning.ops import OPTYPE

from ...calibration.observers import ChannelSet, HookPoint
from ...utils.layers import layer_width
from .collect import collect_group

__all__ = ["NORMS", "CoupledGroup", "full_group", "mean_over_channel_groups", "root_channels", "structure"]

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.PReLU)
# These combine the channels of a group, so that a channel of zeros is not a removed channel.
_MIXING = (nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.MultiheadAttention, nn.Softmax, nn.RMSNorm)


@dataclass(frozen=True, eq=False)
class CoupledGroup(ChannelSet):
    """Channels that can only be removed together, analyzed once from a group of Torch-Pruning.

    The name is that of the root layer in the model, and the channels are the root's.

    Attributes:
        group: Torch-Pruning's, over all channels of the root.
        channel_groups: the number of equal parts of the channels that must lose the same relative indices.
        layers: the modules and parameters that lose output channels, the root first.
        layer_names: the names of those that have one in the model.
        consumers: the convolutions, linear and recurrent layers whose input the channels are, or some of them: pairs of
            an input channel (feature) and the root channel that it belongs to.
        is_output: whether removing channels changes the shape of the model's output.
        verifiable: whether zeroing the channels at the input of their consumers is the same as removing them. It is
            not where a normalization combines removed and kept channels, or where no layer consumes the channels.
    """

    group: Group
    channel_groups: int
    layers: tuple[nn.Module, ...]
    layer_names: tuple[str, ...]
    consumers: Mapping[nn.Module, Sequence[tuple[int, int]]]
    is_output: bool
    verifiable: bool

    @classmethod
    def of(cls, group: Group | CoupledGroup) -> CoupledGroup:
        """Analyze a group of Torch-Pruning, over all channels of its root or over some."""
        if isinstance(group, CoupledGroup):
            return group
        group = full_group(group)
        names, channels = group._DG._module2name, _num_channels(group)
        layers = dict.fromkeys(item.dep.target.module for item in group if _is_output_side(group, item))
        consumers: dict[nn.Module, list[tuple[int, int]]] = {}
        for item in group:
            if _consumes(group, item) or _is_input_of_recurrent(group, item):
                pairs = zip(item.idxs, item.root_idxs, strict=True)
                consumers.setdefault(item.dep.target.module, []).extend(pairs)
        root = group[0].dep.target.module
        return cls(
            name=str(names.get(root) or type(root).__name__),
            num_channels=channels,
            hook_points=_hook_points(group, channels),
            group=group,
            channel_groups=_num_channel_groups(group, channels),
            layers=tuple(layers),
            layer_names=tuple(dict.fromkeys(filter(None, (_name(group, layer) for layer in layers)))),
            consumers=consumers,
            is_output=_is_output(group),
            verifiable=_is_verifiable(group, consumers),
        )

    @property
    def channels_per_group(self) -> int:
        """How many relative indices there are."""
        return self.num_channels // self.channel_groups

    @property
    def features_form_channels(self) -> bool:
        """Whether several channels of the root become one of a consumer, as by a view of features as maps."""
        return any(
            len({index for index, _ in pairs}) * self.channel_groups < len({root for _, root in pairs})
            for pairs in self.consumers.values()
        )

    def by_blocks(self) -> CoupledGroup | None:
        """The group whose channels are those that blocks of features form, each removed with its whole block.

        Returns:
            None where features do not form channels, or not equally many each.
        """
        if not self.features_form_channels:
            return None
        graph = self.group._DG
        items = [item for item in self.group if _consumes(self.group, item)]
        for item in items:
            layer, handler = item.dep.target.module, item.dep.handler
            width = int(graph.get_in_channels(item.dep.target))
            blocks = CoupledGroup.of(collect_group(graph, layer, handler, range(width), refresh=False))
            features = sorted({root for _, root in self.consumers[layer]})
            whole = features == list(range(self.num_channels)) and self.num_channels % width == 0
            if whole and blocks.hook_points and not blocks.features_form_channels:
                return replace(blocks, name=self.name)
        return None

    @property
    def producer_names(self) -> list[str]:
        """Names of the layers that produce the channels, without normalization."""
        names = self.group._DG._module2name
        norms = {names.get(layer) for layer in self.layers if isinstance(layer, NORMS)}
        return [name for name in self.layer_names if name not in norms] or [self.name]

    def root_indices(self, relative: Iterable[int]) -> list[int]:
        """The root's channels at some relative indices, channel group after channel group."""
        size, relative = self.channels_per_group, list(relative)
        return [number * size + channel for number in range(self.channel_groups) for channel in relative]

    def partial(self, channels: Sequence[int], graph: DependencyGraph | None = None) -> Group:
        """Torch-Pruning's group over some of the root's channels, ready to be pruned.

        Args:
            channels: of the root.
            graph: a newer trace of the same model; None for that of this group.
        """
        root = self.group[0].dep
        graph = self.group._DG if graph is None else graph
        return collect_group(graph, root.target.module, root.handler, channels)

    def consumed(self, channels: Iterable[int]) -> dict[nn.Module, list[int]]:
        """The input channels (features) of the consumers that belong to some channels of the root."""
        wanted = set(channels)
        return {layer: [index for index, root in pairs if root in wanted] for layer, pairs in self.consumers.items()}

    def rooted_at_consumer(self) -> CoupledGroup | None:
        """The group rooted at its last consumer, as Torch-Pruning does for attention layers; None without one."""
        items = [item.dep for item in self.group if _consumes(self.group, item)]
        if not items:
            return None
        return CoupledGroup.of(collect_group(self.group._DG, items[-1].target.module, items[-1].handler, [0]))


def _name(group: Group, layer: nn.Module | nn.Parameter) -> str | None:
    """In the model; that of a parameter without a layer is Torch-Pruning's own elsewhere."""
    graph = group._DG
    return graph._param_to_name.get(layer) if isinstance(layer, nn.Parameter) else graph._module2name.get(layer)


def full_group(group: Group) -> Group:
    """The group over all channels of its root, for one that was made for some of them."""
    channels = _num_channels(group)
    if list(group[0].idxs) == list(range(channels)):
        return group
    return collect_group(group._DG, group[0].dep.target.module, group[0].dep.handler, range(channels))


def root_channels(group: Group) -> set[int]:
    """The channels of its root in a group of Torch-Pruning: also those that others require to be removed with them."""
    root = group[0].dep
    same = [item for item in group if item.dep.target is root.target and item.dep.handler == root.handler]
    return {index for item in same for index in item.idxs}


def structure(group: Group) -> tuple[tuple[str, str], ...]:
    """Layer types and what is pruned of them: equal for isomorphic groups (Fang et al., ECCV 2024)."""
    return tuple((type(item.dep.target.module).__name__, getattr(item.dep.handler, "__name__", "")) for item in group)


def mean_over_channel_groups(similarity: Tensor, channel_groups: int) -> Tensor:
    """Mean similarity of relative indices over G channel groups: (C, C) to (C / G, C / G)."""
    if channel_groups == 1:
        return similarity
    size = len(similarity) // channel_groups
    return similarity.view(channel_groups, size, channel_groups, size).diagonal(dim1=0, dim2=2).mean(-1)


def _num_channels(group: Group) -> int:
    dep, graph = group[0].dep, group._DG
    count = graph.get_out_channels if graph.is_out_channel_pruning_fn(dep.handler) else graph.get_in_channels
    return int(count(dep.target))


def _num_channel_groups(group: Group, channels: int) -> int:
    """The least number that suits all layers in the group.

    Channel groups are the groups of grouped convolutions and of GroupNorm, the heads of ``nn.MultiheadAttention``, and
    the parts of maps that are split and combined, such as the halves whose maximum is a max feature map.
    """
    counts = [1]
    if any(item.dep.target.type == OPTYPE.SPLIT for item in group):
        root = group[0].dep
        together = root_channels(collect_group(group._DG, root.target.module, root.handler, [0], refresh=False))
        if together == set(range(0, channels, channels // len(together))):
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


def _is_output(group: Group) -> bool:
    return any(
        item.dep.target.type == OPTYPE.OUTPUT or (not item.dep.target.outputs and _is_output_side(group, item))
        for item in group
    )


def _is_verifiable(group: Group, consumers: Mapping[nn.Module, Sequence[tuple[int, int]]]) -> bool:
    if any(isinstance(item.dep.target.module, _MIXING) for item in group):
        return False
    if not any(root == 0 for pairs in consumers.values() for _, root in pairs):
        return False
    if not _is_output_side(group, group[0]):
        return True
    # Where one root channel is several of a layer's, as in queries, keys and values, they also meet in products.
    return all(
        len(set(item.root_idxs)) == len(item.root_idxs)
        for item in group
        if isinstance(item.dep.target.module, nn.Linear) and _is_output_side(group, item)
    )


def _hook_points(group: Group, channels: int) -> tuple[HookPoint, ...]:
    """Where the channels are observed, in the order of the root's channels.

    At the inputs of the layers that consume all of them. Where no layer does, at the outputs of the layers that produce
    them, after the normalization that follows.
    """
    points = [_hook_point(item, "input", channels) for item in group if _consumes(group, item)]
    if not any(points):
        items = {item.dep.target.module: item for item in group if isinstance(item.dep.target.module, nn.Module)}
        produced = [item for item in group if _is_mixer(item) and _is_output_side(group, item)]
        points = [_hook_point(_after_norm(item, items), "output", channels) for item in produced]
    return tuple({point.key(): point for point in points if point is not None}.values())


def _is_output_side(group: Group, item: Any) -> bool:
    return bool(group._DG.is_out_channel_pruning_fn(item.dep.handler))


def _is_mixer(item: Any) -> bool:
    return isinstance(item.dep.target.module, (_ConvNd, nn.Linear))


def _is_input_of_recurrent(group: Group, item: Any) -> bool:
    return isinstance(item.dep.target.module, nn.RNNBase) and not _is_output_side(group, item)


def _consumes(group: Group, item: Any) -> bool:
    inputs = bool(group._DG.is_in_channel_pruning_fn(item.dep.handler))
    return _is_mixer(item) and inputs and not _is_output_side(group, item)


def _after_norm(item: Any, items: Mapping[nn.Module, Any]) -> Any:
    """The item of the last normalization layer (or PReLU) that follows a layer directly, or the layer's own."""
    node = item.dep.target
    while len(node.outputs) == 1 and isinstance(node.outputs[0].module, NORMS) and node.outputs[0].module in items:
        node = node.outputs[0]
    return items[node.module]


def _hook_point(item: Any, side: Any, channels: int) -> HookPoint | None:
    """At an item's layer; None where it does not have every channel of the root, each equally often."""
    if None in item.root_idxs:
        return None
    index, root = np.array(item.idxs, dtype=np.int64), np.array(item.root_idxs, dtype=np.int64)
    if not len(root) or root.min() < 0 or root.max() >= channels:
        return None
    counts = np.bincount(root, minlength=channels)
    if not counts[0] or (counts != counts[0]).any():
        return None
    channel_index = torch.from_numpy(index[np.lexsort((index, root))].reshape(channels, -1))
    layer = item.dep.target.module
    width = layer_width(layer, side)
    if width is not None and int(channel_index.max()) >= width:
        # Torch-Pruning has lost track of the channels, as after a pixel shuffle.
        return None
    whole = width == channels and torch.equal(channel_index[:, 0], torch.arange(channels))
    return HookPoint(layer, side, None if whole else channel_index)
