"""The layers that read coupled channels: their inputs as units, their weights by unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch_pruning.dependency import Group

from ...calibration.observers import ChannelSet, HookPoint
from ...criterion.block_elimination import PatchTerm
from ...criterion.gram import GramStatistics
from ...criterion.reconstruction import ReconstructionTerm
from ...recovery.patch_statistics import PatchStatistics
from .groups import group_reads, num_channel_groups

__all__ = [
    "Reader",
    "find_readers",
    "layers_without_compensation",
    "patch_terms",
    "place",
    "reconstruction_terms",
]


_CHUNK = 2**22


@dataclass(frozen=True, eq=False)
class Reader:
    """A convolution or linear layer, its input taken as units that can stand in for each other.

    Attributes:
        layer: the layer.
        columns: (U, L) input channels (features) of each unit. L is 1 but where maps were flattened; a layer behind
            several flattened maps of different sizes is one reader for each size.
    """

    layer: nn.Module
    columns: Tensor

    @property
    def units(self) -> int:
        """U."""
        return len(self.columns)

    @property
    def input_width(self) -> int:
        """Input channels (features) of the layer as it is now."""
        return _width(self.layer)

    @property
    def reads(self) -> ChannelSet:
        """What to calibrate for the products between the units."""
        whole = torch.equal(self.columns, torch.arange(_width(self.layer))[:, None])
        return ChannelSet("", self.units, (HookPoint(self.layer, "input", None if whole else self.columns),))

    def rows(self, tap: HookPoint) -> list[int] | None:
        """The unit of each channel of a tap at this layer; None for a tap at another place."""
        if tap.module is not self.layer or tap.side != "input":
            return None
        unit = {int(first): row for row, first in enumerate(self.columns[:, 0])}
        firsts = range(self.input_width) if tap.channel_index is None else tap.channel_index[:, 0].tolist()
        rows = [unit.get(first, -1) for first in firsts]
        return (
            None
            if -1 in rows or (tap.channel_index is not None and tap.channel_index.shape[1] != self.columns.shape[1])
            else rows
        )

    @property
    def parts(self) -> list[range]:
        """The units that the same weights see: one range, or one for each group of a grouped convolution."""
        groups = self.layer.groups if isinstance(self.layer, _ConvNd) else 1
        size = self.units // groups
        return [range(start, start + size) for start in range(0, self.units, size)]

    def weights(self, weight: Tensor | None = None) -> list[Tensor]:
        """For each of ``parts``, the weights as (outputs, units of the part, L, ...); copies, where L is not 1."""
        blocks = _by_block(self.layer, self._parameter if weight is None else weight)
        if len(blocks) > 1:
            return [block.unsqueeze(2) for block in blocks]
        return [blocks[0][:, self.columns]]

    def write(self, parts: Sequence[Tensor]) -> None:
        """Put a new weight parameter in place of the layer's, from tensors as :meth:`weights` gives them."""
        old = self._parameter
        new = old.detach().clone()
        blocks = _by_block(self.layer, new)
        if len(blocks) > 1:
            for block, part in zip(blocks, parts, strict=True):
                block.copy_(part.squeeze(2))
        else:
            blocks[0][:, self.columns] = parts[0]
        self.layer.weight = nn.Parameter(new, requires_grad=old.requires_grad)

    def weight_products(self) -> Tensor:
        """(U, U) float64 on the CPU: inner products between the weights of the units."""
        products = torch.zeros(self.units, self.units, dtype=torch.float64)
        for part, weight in zip(self.parts, self.weights(), strict=True):
            block = products[part.start : part.stop, part.start : part.stop]
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


def find_readers(groups: Iterable[Group]) -> list[Reader]:
    """The readers of some full groups, each once, with all the channels that any of the groups has there.

    Channels of a reader that belong to none of the groups are units as well, unless its maps are flattened: they stay,
    and can stand in for others.
    """
    found: dict[tuple[nn.Module, int], list[Tensor]] = {}
    for group in groups:
        for tap in group_reads(group).hook_points:
            if tap.side == "input":
                columns = torch.arange(_width(tap.module))[:, None] if tap.channel_index is None else tap.channel_index
                found.setdefault((tap.module, columns.shape[1]), []).append(columns)
    readers = []
    for (layer, length), parts in found.items():
        if length == 1:
            readers.append(Reader(layer, torch.arange(_width(layer))[:, None]))
        else:
            readers.append(Reader(layer, torch.unique(torch.cat(parts), dim=0)))
    return readers


def place(readers: Sequence[Reader], tap: HookPoint) -> tuple[int, list[int]] | None:
    """Which reader a tap belongs to, and the unit of each of its channels; None if to none."""
    for number, reader in enumerate(readers):
        rows = reader.rows(tap)
        if rows is not None:
            return number, rows
    return None


def reconstruction_terms(
    group: Group, readers: Sequence[Reader], grams: Sequence[GramStatistics]
) -> list[ReconstructionTerm]:
    """What the reconstruction order of a full group goes by: a term for each tensor that carries its channels.

    Where channels fall into parts that lose the same relative indices, each part is a term of its own. Readers that did
    not run have no say.
    """
    size = group_reads(group).num_channels // num_channel_groups(group)
    terms: list[ReconstructionTerm] = []
    for tap in {tap.key(): tap for tap in group_reads(group).hook_points}.values():
        found = place(readers, tap)
        if found is None or not grams[found[0]].samples:
            continue
        number, rows = found
        gram, weight = grams[number].compute(), readers[number].weight_products()
        for start in range(0, len(rows), size):
            index = torch.tensor(rows[start : start + size])
            terms.append(ReconstructionTerm(gram[index][:, index], weight[index][:, index], grams[number].samples))
    return _merged(terms)


def patch_terms(
    group: Group, readers: Sequence[Reader], statistics: Mapping[nn.Module, PatchStatistics]
) -> list[PatchTerm]:
    """What the order by patches of a full group goes by: a term for each consumer that ran and has no groups.

    Where channels fall into parts that lose the same relative indices, each part is a term of its own.
    """
    size = group_reads(group).num_channels // num_channel_groups(group)
    terms: list[PatchTerm] = []
    for tap in {tap.key(): tap for tap in group_reads(group).hook_points}.values():
        found = place(readers, tap)
        one = statistics.get(tap.module)
        if found is None or one is None or not one.samples:
            continue
        number, rows = found
        for start in range(0, len(rows), size):
            terms.append(one.term(readers[number].columns[rows[start : start + size]]))
    return terms


def layers_without_compensation(group: Group) -> list[str]:
    """Names of the layers that take the group's channels in and have no weights to let others take over."""
    mixing = {tap.module for tap in group_reads(group).hook_points if tap.side == "input"}
    graph = group._DG
    names = []
    for item in group:
        layer, handler = item.dep.target.module, item.dep.handler
        reads = graph.is_in_channel_pruning_fn(handler) and not graph.is_out_channel_pruning_fn(handler)
        if layer not in mixing and (isinstance(layer, nn.MultiheadAttention) or (reads and _weighted(layer))):
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


def _weighted(layer: object) -> bool:
    return isinstance(layer, nn.Module) and any(True for _ in layer.parameters(recurse=False))


def _width(layer: nn.Module) -> int:
    width = layer.in_channels if isinstance(layer, _ConvNd) else layer.in_features
    assert isinstance(width, int)
    return width


def _by_block(layer: nn.Module, weight: Tensor) -> list[Tensor]:
    """Views of a weight as (outputs, inputs, ...), one for each group of a grouped convolution."""
    if not isinstance(layer, _ConvNd):
        return [weight]
    blocks = list(weight.chunk(layer.groups)) if layer.groups > 1 else [weight]
    return [block.transpose(0, 1) for block in blocks] if isinstance(layer, _ConvTransposeNd) else blocks
