"""Places where feature maps can be read, and what is gathered there while a model runs."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from ..criterion.gram import GramStatistics
from ..criterion.similarity import ChannelStatistics, not_finite

__all__ = ["ChannelSet", "DeferredFiniteCheck", "GramObserver", "HookPoint", "Listener", "SimilarityObserver"]


@dataclass(frozen=True, eq=False)
class HookPoint:
    """A place where the feature maps of a set of channels can be read.

    Attributes:
        module: a convolution, a linear or a normalization layer.
        side: whether its input or its output is read.
        columns: (C, k) indices on the CPU: the k channels (or features) of the tensor that hold channel c's map; k is
            1 but for flattened maps and the like. None takes the tensor's channels as they are.
    """

    module: nn.Module
    side: Literal["input", "output"]
    columns: Tensor | None = None
    _indices: dict[torch.device, slice | Tensor] = field(default_factory=dict, init=False, repr=False)

    def key(self) -> tuple[int, str, bytes | None]:
        """Equal for taps that read the same."""
        return id(self.module), self.side, None if self.columns is None else self.columns.numpy().tobytes()

    def maps(self, tensor: Tensor) -> Tensor:
        """The maps in a tensor read here, as (N, C, ...)."""
        by_features = isinstance(self.module, nn.Linear)
        if isinstance(self.module, nn.LayerNorm):
            # Some take their channels first, as torchvision's LayerNorm2d does.
            by_features = tensor.shape[-1] == self.module.normalized_shape[-1]
        if by_features and tensor.dim() > 2:
            tensor = tensor.movedim(-1, 1)
        if self.columns is None:
            return tensor
        indices = self._on_device(self.columns, tensor.device)
        if self.columns.shape[1] > 1:
            return tensor[:, indices].unflatten(1, tuple(self.columns.shape))
        return tensor[:, indices]

    def _on_device(self, columns: Tensor, device: torch.device) -> slice | Tensor:
        """The columns, one after the other: a slice where they are one, since that copies nothing."""
        if device not in self._indices:
            flat = columns.flatten()
            first, last = int(flat[0]), int(flat[-1])
            in_a_row = torch.equal(flat, torch.arange(first, first + len(flat)))
            self._indices[device] = slice(first, last + 1) if in_a_row else flat.to(device)
        return self._indices[device]


@dataclass(frozen=True, eq=False)
class ChannelSet:
    """All the places where one set of coupled channels is read.

    Attributes:
        name: of the channels, for messages.
        num_channels: C.
        taps: where they are read; empty if nowhere.
    """

    name: str
    num_channels: int
    taps: tuple[HookPoint, ...]

    def key(self) -> tuple[Any, ...]:
        """Equal for reads that give the same statistics."""
        return self.num_channels, tuple(sorted({tap.key() for tap in self.taps}, key=repr))


class Listener(Protocol):
    """Gathers something from the tensors that pass some places of a model."""

    def places(self) -> Iterable[tuple[nn.Module, str]]:
        """Where it wants to see tensors: modules and sides."""

    def take(self, module: nn.Module, side: str, tensor: Tensor) -> None:
        """See a tensor at one of its places."""

    def end_batch(self) -> None:
        """Know that the next tensors belong to another batch."""


@dataclass(frozen=True)
class DeferredFiniteCheck:
    """Maps that were added up without waiting for the device to say whether all of their values are finite.

    Attributes:
        module: where they were read.
        side: likewise.
        energy: not finite if any value was not; a scalar.
        problem: what to say then.
    """

    module: nn.Module
    side: str
    energy: Tensor
    problem: str


class SimilarityObserver:
    """Channel statistics of one set of channels, each tensor once a batch.

    Attributes:
        statistics: the sums.
        unchecked: what is still to be looked at, of maps on devices that work behind the host's back.
    """

    def __init__(self, reads: ChannelSet) -> None:
        self.statistics = ChannelStatistics(reads.num_channels)
        self._taps: dict[tuple[nn.Module, str], list[HookPoint]] = {}
        for tap in {tap.key(): tap for tap in reads.taps}.values():
            self._taps.setdefault((tap.module, tap.side), []).append(tap)
        self.unchecked: list[DeferredFiniteCheck] = []
        self._seen: list[_TensorIdentity] = []

    def places(self) -> Iterable[tuple[nn.Module, str]]:
        """As :meth:`Listener.places`."""
        return self._taps

    def take(self, module: nn.Module, side: str, tensor: Tensor) -> None:
        """As :meth:`Listener.take`."""
        for tap in self._taps[module, side]:
            sighting = _TensorIdentity.of(tensor, tap)
            if not any(sighting.same(other) for other in self._seen):
                self._seen.append(sighting)
                self._update(module, side, tap.maps(tensor))

    def end_batch(self) -> None:
        """As :meth:`Listener.end_batch`."""
        self._seen.clear()

    def _update(self, module: nn.Module, side: str, maps: Tensor) -> None:
        energy = self.statistics.update_async(maps)
        if maps.device.type != "cpu":
            self.unchecked.append(DeferredFiniteCheck(module, side, energy, not_finite(maps)))
        elif not torch.isfinite(energy):
            raise ValueError(not_finite(maps))


class GramObserver:
    """Gram matrices of sets of channels with one tap each; taps that see one tensor in a batch share one product."""

    def __init__(self, reads: Sequence[ChannelSet]) -> None:
        self.statistics = [GramStatistics(read.num_channels) for read in reads]
        self._taps: dict[tuple[nn.Module, str], list[tuple[int, HookPoint]]] = {}
        for number, read in enumerate(reads):
            for tap in read.taps:
                self._taps.setdefault((tap.module, tap.side), []).append((number, tap))
        self._seen: list[tuple[_TensorIdentity, GramStatistics]] = []

    def places(self) -> Iterable[tuple[nn.Module, str]]:
        """As :meth:`Listener.places`."""
        return self._taps

    def take(self, module: nn.Module, side: str, tensor: Tensor) -> None:
        """As :meth:`Listener.take`."""
        for number, tap in self._taps[module, side]:
            sighting = _TensorIdentity.of(tensor, tap)
            added = next((gram for other, gram in self._seen if sighting.same(other)), None)
            if added is None:
                added = GramStatistics(self.statistics[number].num_channels).update(tap.maps(tensor))
                self._seen.append((sighting, added))
            self.statistics[number].merge(added)

    def end_batch(self) -> None:
        """As :meth:`Listener.end_batch`."""
        self._seen.clear()


@dataclass(frozen=True, eq=False)
class _TensorIdentity:
    """What a tap saw, so that one tensor under two readers is known again: views share their base and its version."""

    base: weakref.ref[Tensor]
    extent: tuple[Any, ...]

    @classmethod
    def of(cls, tensor: Tensor, tap: HookPoint) -> _TensorIdentity:
        base = tensor if tensor._base is None else tensor._base
        version = 0 if tensor.is_inference() else tensor._version
        return cls(weakref.ref(base), (version, tensor.storage_offset(), tensor.numel(), tap.key()[2]))

    def same(self, other: _TensorIdentity) -> bool:
        mine = self.base()
        return mine is not None and mine is other.base() and self.extent == other.extent
