"""Hook points of a model, and the statistics gathered there while the model runs."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from ..criterion.gram import GramStatistics
from ..criterion.similarity import ChannelStatistics, not_finite

__all__ = ["ChannelSet", "DeferredFiniteCheck", "GramObserver", "HookPoint", "Observer", "SimilarityObserver"]


@dataclass(frozen=True, eq=False)
class HookPoint:
    """A layer whose input or output contains the feature maps of a set of channels.

    Attributes:
        module: a convolution, a linear or a normalization layer.
        side: whether its input or its output is observed.
        channel_index: (C, k) indices on the CPU: the k channels (or features) of the tensor with the map of channel c.
            k is 1, except for flattened maps. None means that the channels of the tensor are the C channels.
    """

    module: nn.Module
    side: Literal["input", "output"]
    channel_index: Tensor | None = None
    _indices: dict[torch.device, slice | Tensor] = field(default_factory=dict, init=False, repr=False)

    def key(self) -> tuple[int, str, bytes | None]:
        """Equal for hook points that observe the same maps."""
        return id(self.module), self.side, self.index_bytes

    @functools.cached_property
    def index_bytes(self) -> bytes | None:
        """``channel_index`` as bytes, to compare it quickly."""
        return None if self.channel_index is None else self.channel_index.numpy().tobytes()

    def maps(self, tensor: Tensor) -> Tensor:
        """The maps of the C channels in a tensor observed here, (N, C, ...)."""
        by_features = isinstance(self.module, nn.Linear)
        if isinstance(self.module, nn.LayerNorm):
            # Some have their channels first, for example torchvision's LayerNorm2d.
            by_features = tensor.shape[-1] == self.module.normalized_shape[-1]
        if by_features and tensor.dim() > 2:
            tensor = tensor.movedim(-1, 1)
        if self.channel_index is None:
            return tensor
        indices = self._on_device(self.channel_index, tensor.device)
        if self.channel_index.shape[1] > 1:
            return tensor[:, indices].unflatten(1, tuple(self.channel_index.shape))
        return tensor[:, indices]

    def _on_device(self, channel_index: Tensor, device: torch.device) -> slice | Tensor:
        """Flat indices; a slice where they are consecutive, since a slice copies nothing."""
        if device not in self._indices:
            flat = channel_index.flatten()
            first, last = int(flat[0]), int(flat[-1])
            in_a_row = torch.equal(flat, torch.arange(first, first + len(flat)))
            self._indices[device] = slice(first, last + 1) if in_a_row else flat.to(device)
        return self._indices[device]


@dataclass(frozen=True, eq=False)
class ChannelSet:
    """One set of coupled channels, and where their feature maps can be observed.

    Attributes:
        name: the name in error messages.
        num_channels: C.
        hook_points: where the maps are observed; may be empty.
    """

    name: str
    num_channels: int
    hook_points: tuple[HookPoint, ...]

    def key(self) -> tuple[Any, ...]:
        """Equal for sets that give the same statistics."""
        return self.num_channels, tuple(sorted({point.key() for point in self.hook_points}, key=repr))


class Observer(Protocol):
    """Gathers statistics from the tensors at some hook points of a model."""

    def hook_points(self) -> Iterable[tuple[nn.Module, str]]:
        """The modules and sides at which tensors are observed."""

    def observe(self, module: nn.Module, side: str, tensor: Tensor) -> None:
        """Add the tensor at one of the hook points to the statistics."""

    def end_batch(self) -> list[DeferredFiniteCheck]:
        """Prepare for the next batch; returns the checks that this one has left."""


@dataclass(frozen=True)
class DeferredFiniteCheck:
    """A finite check deferred to the end of the batch, so that a GPU is not synchronized at every layer.

    Attributes:
        module: the layer where the maps were observed.
        side: its input or its output.
        sum_of_squares: a scalar; not finite if any value of the maps is not.
        problem: the error message in that case.
    """

    module: nn.Module
    side: str
    sum_of_squares: Tensor
    problem: str


class SimilarityObserver:
    """Similarity statistics of one set of channels. A tensor at several hook points counts once a batch.

    Args:
        channels: the set.
        grams: receives the products of maps where they are computed together with the similarities.

    Attributes:
        statistics: the sums.
    """

    def __init__(self, channels: ChannelSet, grams: GramObserver | None = None) -> None:
        self.statistics = ChannelStatistics(channels.num_channels)
        self._grams = grams
        self._hook_points: dict[tuple[nn.Module, str], list[HookPoint]] = {}
        for point in {point.key(): point for point in channels.hook_points}.values():
            self._hook_points.setdefault((point.module, point.side), []).append(point)
        self._observed: dict[_Key, weakref.ref[Tensor]] = {}
        self._unchecked: list[DeferredFiniteCheck] = []

    def hook_points(self) -> Iterable[tuple[nn.Module, str]]:
        """As :meth:`Observer.hook_points`."""
        return self._hook_points

    def observe(self, module: nn.Module, side: str, tensor: Tensor) -> None:
        """As :meth:`Observer.observe`."""
        for point in self._hook_points[module, side]:
            base, key = _identity(tensor, point)
            known = self._observed.get(key)
            if known is not None and known() is base:
                continue
            self._observed[key] = weakref.ref(base)
            maps = point.maps(tensor)
            products = self._grams is not None and self._grams.needs(module, side, point)
            sums = self.statistics.update_async(maps, products=products)
            self._unchecked += _check(module, side, maps, sums.sum_of_squares)
            if self._grams is not None and sums.products is not None:
                samples = maps.numel() // maps.shape[1]
                self._grams.add(tensor, point, GramStatistics.from_packed(sums.products, maps.shape[1], samples))

    def end_batch(self) -> list[DeferredFiniteCheck]:
        """As :meth:`Observer.end_batch`."""
        self._observed.clear()
        unchecked, self._unchecked = self._unchecked, []
        return unchecked


class GramObserver:
    """Gram matrices of sets of channels with one hook point each. Equal tensors in a batch are multiplied once."""

    def __init__(self, channel_sets: Sequence[ChannelSet]) -> None:
        self.statistics = [GramStatistics(channels.num_channels) for channels in channel_sets]
        self._hook_points: dict[tuple[nn.Module, str], list[tuple[int, HookPoint]]] = {}
        for number, channels in enumerate(channel_sets):
            for point in channels.hook_points:
                self._hook_points.setdefault((point.module, point.side), []).append((number, point))
        self._observed: dict[_Key, tuple[weakref.ref[Tensor], GramStatistics]] = {}
        self._unchecked: list[DeferredFiniteCheck] = []

    def hook_points(self) -> Iterable[tuple[nn.Module, str]]:
        """As :meth:`Observer.hook_points`."""
        return self._hook_points

    def needs(self, module: nn.Module, side: str, point: HookPoint) -> bool:
        """Whether the products of the maps at a hook point are wanted here."""
        wanted = self._hook_points.get((module, side), ())
        return any(other.index_bytes == point.index_bytes for _, other in wanted)

    def add(self, tensor: Tensor, point: HookPoint, products: GramStatistics) -> None:
        """Take the products of a tensor that was multiplied elsewhere; :meth:`observe` finds them."""
        base, key = _identity(tensor, point)
        self._observed[key] = weakref.ref(base), products

    def observe(self, module: nn.Module, side: str, tensor: Tensor) -> None:
        """As :meth:`Observer.observe`."""
        for number, point in self._hook_points[module, side]:
            base, key = _identity(tensor, point)
            known = self._observed.get(key)
            if known is not None and known[0]() is base:
                added = known[1]
            else:
                maps = point.maps(tensor)
                added = GramStatistics(self.statistics[number].num_channels)
                self._unchecked += _check(module, side, maps, added.update_async(maps))
                self._observed[key] = weakref.ref(base), added
            self.statistics[number].merge(added)

    def end_batch(self) -> list[DeferredFiniteCheck]:
        """As :meth:`Observer.end_batch`."""
        self._observed.clear()
        unchecked, self._unchecked = self._unchecked, []
        return unchecked


def _check(module: nn.Module, side: str, maps: Tensor, sum_of_squares: Tensor) -> list[DeferredFiniteCheck]:
    """The check of maps on a GPU, for the end of the batch; on a CPU it is made at once.

    Raises:
        ValueError: the maps are on a CPU and not finite.
    """
    if maps.device.type != "cpu":
        return [DeferredFiniteCheck(module, side, sum_of_squares, not_finite(maps))]
    if not math.isfinite(sum_of_squares.item()):
        raise ValueError(not_finite(maps))
    return []


_Key = tuple[Any, ...]


def _identity(tensor: Tensor, point: HookPoint) -> tuple[Tensor, _Key]:
    """What identifies a tensor that two layers observe: views of it share their base and its version.

    Keys are equal for the same values of the same base, as long as that is alive; another tensor may get its id then.
    """
    base = tensor if tensor._base is None else tensor._base
    version = 0 if tensor.is_inference() else tensor._version
    return base, (id(base), version, tensor.storage_offset(), tensor.numel(), point.index_bytes)
