"""The layers that consume coupled channels: their inputs as units, their weights by unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ...calibration.observers import ChannelSet, HookPoint
from ...criterion.block_elimination import PatchTerm
from ...criterion.gram import GramStatistics
from ...criterion.reconstruction import ReconstructionTerm
from ...recovery.patch_statistics import PatchStatistics
from ...utils.layers import layer_width
from .groups import CoupledGroup

__all__ = [
    "Consumer",
    "consumer_units",
    "find_consumers",
    "layers_without_compensation",
    "patch_terms",
    "reconstruction_terms",
]


_CHUNK = 2**22


@dataclass(frozen=True, eq=False)
class Consumer:
    """A convolution or linear layer, with its input as units that can replace each other.

    Attributes:
        layer: the layer.
        channel_index: (U, L) input channels (features) of each unit. L is 1, except where maps were flattened; a layer
            that consumes several flattened maps of different sizes is one consumer for each size.
    """

    layer: nn.Module
    channel_index: Tensor

    @property
    def num_units(self) -> int:
        """U."""
        return len(self.channel_index)

    @property
    def input_width(self) -> int:
        """Input channels (features) of the layer as it is now."""
        width = layer_width(self.layer, "input")
        assert width is not None
        return width

    @property
    def channel_set(self) -> ChannelSet:
        """The units as channels to observe, for the products between them."""
        whole = torch.equal(self.channel_index, torch.arange(self.input_width)[:, None])
        point = HookPoint(self.layer, "input", None if whole else self.channel_index)
        return ChannelSet("", self.num_units, (point,))

    def units(self, point: HookPoint) -> list[int] | None:
        """The unit of each channel of a hook point at this layer's input; None for another hook point."""
        if point.module is not self.layer or point.side != "input":
            return None
        index = torch.arange(self.input_width)[:, None] if point.channel_index is None else point.channel_index
        unit = {int(first): number for number, first in enumerate(self.channel_index[:, 0])}
        units = [unit.get(first, -1) for first in index[:, 0].tolist()]
        return units if -1 not in units and index.shape[1] == self.channel_index.shape[1] else None

    @property
    def blocks(self) -> list[range]:
        """The units that the same weights multiply: one range, or one for each group of a grouped convolution."""
        groups = self.layer.groups if isinstance(self.layer, _ConvNd) else 1
        size = self.num_units // groups
        return [range(start, start + size) for start in range(0, self.num_units, size)]

    def weights(self) -> list[Tensor]:
        """For each of ``blocks`` the weights, (outputs, units of the block, L, ...); copies, where L is not 1."""
        blocks = _by_block(self.layer, self._parameter)
        if len(blocks) > 1:
            return [block.unsqueeze(2) for block in blocks]
        return [blocks[0][:, self.channel_index]]

    def write(self, weights: Sequence[Tensor]) -> None:
        """Replace the layer's weight parameter by a new one, from tensors of the form of :meth:`weights`.

        The gradient is kept: Torch-Pruning removes the same entries from it.
        """
        old = self._parameter
        new = old.detach().clone()
        blocks = _by_block(self.layer, new)
        if len(blocks) > 1:
            for block, weight in zip(blocks, weights, strict=True):
                block.copy_(weight.squeeze(2))
        else:
            blocks[0][:, self.channel_index] = weights[0]
        parameter = nn.Parameter(new, requires_grad=old.requires_grad)
        parameter.grad = old.grad
        self.layer.weight = parameter

    def weight_products(self) -> Tensor:
        """(U, U) float64 on the CPU: inner products between the weights of the units."""
        products = torch.zeros(self.num_units, self.num_units, dtype=torch.float64)
        for units, weight in zip(self.blocks, self.weights(), strict=True):
            block = products[units.start : units.stop, units.start : units.stop]
            # A few outputs at a time: in double precision a classifier of VGG would fill a gigabyte.
            for outputs in weight.detach().split(max(1, _CHUNK // max(1, weight[0].numel()))):
                rows = outputs.to("cpu", torch.float64).transpose(0, 1).flatten(1)
                block += rows @ rows.T
        return products

    @property
    def _parameter(self) -> Tensor:
        weight = self.layer.weight
        assert isinstance(weight, Tensor)
        return weight


def find_consumers(groups: Iterable[ChannelSet]) -> list[Consumer]:
    """The layers that consume all channels of a group, each once, with the channels of all groups that it consumes.

    Channels of a consumer that belong to none of the groups are units as well, unless its maps are flattened: they are
    kept, and can replace others.
    """
    found: dict[tuple[nn.Module, int], list[Tensor]] = {}
    for group in groups:
        for point in group.hook_points:
            if point.side == "input":
                whole = torch.arange(layer_width(point.module, "input") or 0)[:, None]
                index = whole if point.channel_index is None else point.channel_index
                found.setdefault((point.module, index.shape[1]), []).append(index if index.shape[1] > 1 else whole)
    return [Consumer(layer, torch.unique(torch.cat(indices), dim=0)) for (layer, _), indices in found.items()]


def consumer_units(consumers: Sequence[Consumer], group: CoupledGroup) -> list[tuple[int, list[int]]]:
    """For each hook point of a group at a consumer, the consumer's number and the unit of each channel."""
    found = []
    for point in group.hook_points:
        for number, consumer in enumerate(consumers):
            units = consumer.units(point)
            if units is not None:
                found.append((number, units))
                break
    return found


def reconstruction_terms(
    group: CoupledGroup, consumers: Sequence[Consumer], grams: Sequence[GramStatistics]
) -> list[ReconstructionTerm]:
    """The terms of a group's reconstruction order: one for each tensor that contains its channels.

    Each channel group is a term of its own. Consumers that did not run are ignored.
    """
    size = group.channels_per_group
    terms: list[ReconstructionTerm] = []
    for number, units in consumer_units(consumers, group):
        if not grams[number].samples:
            continue
        gram, weight = grams[number].compute(), consumers[number].weight_products()
        for start in range(0, len(units), size):
            index = torch.tensor(units[start : start + size])
            terms.append(ReconstructionTerm(gram[index][:, index], weight[index][:, index], grams[number].samples))
    return _merged(terms)


def patch_terms(
    group: CoupledGroup, consumers: Sequence[Consumer], statistics: Mapping[nn.Module, PatchStatistics]
) -> list[PatchTerm]:
    """The terms of a group's order by patches: one for each consumer that ran and has one weight group.

    Each channel group is a term of its own.
    """
    size = group.channels_per_group
    terms: list[PatchTerm] = []
    for number, units in consumer_units(consumers, group):
        found = statistics.get(consumers[number].layer)
        if found is not None and found.samples:
            index = consumers[number].channel_index
            terms += [found.term(index[units[start : start + size]]) for start in range(0, len(units), size)]
    return terms


def layers_without_compensation(group: CoupledGroup) -> list[str]:
    """Names of the layers that consume the group's channels and have no weights that could compensate for them."""
    mixing = {point.module for point in group.hook_points if point.side == "input"}
    graph = group.group._DG
    names = []
    for item in group.group:
        layer, handler = item.dep.target.module, item.dep.handler
        consumes = graph.is_in_channel_pruning_fn(handler) and not graph.is_out_channel_pruning_fn(handler)
        if layer not in mixing and (isinstance(layer, nn.MultiheadAttention) or (consumes and _has_weights(layer))):
            names.append(str(graph._module2name.get(layer) or type(layer).__name__))
    return list(dict.fromkeys(names))


def _merged(terms: list[ReconstructionTerm]) -> list[ReconstructionTerm]:
    """Terms of one tensor as one, which costs the same and is computed once."""
    merged: list[ReconstructionTerm] = []
    for term in terms:
        for number, other in enumerate(merged):
            if other.samples == term.samples and torch.equal(other.gram, term.gram):
                merged[number] = ReconstructionTerm(other.gram, other.weight + term.weight, term.samples)
                break
        else:
            merged.append(term)
    return merged


def _has_weights(layer: object) -> bool:
    return isinstance(layer, nn.Module) and any(True for _ in layer.parameters(recurse=False))


def _by_block(layer: nn.Module, weight: Tensor) -> list[Tensor]:
    """Views of a weight as (outputs, inputs, ...), one for each group of a grouped convolution."""
    if not isinstance(layer, _ConvNd):
        return [weight]
    blocks = list(weight.chunk(layer.groups)) if layer.groups > 1 else [weight]
    return [block.transpose(0, 1) for block in blocks] if isinstance(layer, _ConvTransposeNd) else blocks
