"""Statistics of a model's coupled groups, good for as long as the model stays what it was."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from ...calibration.collect import ForwardFn, calibrate
from ...calibration.data import reusable
from ...calibration.observers import ChannelSet
from ...criterion.block_elimination import PatchTerm
from ...criterion.gram import GramStatistics
from ...criterion.reconstruction import ReconstructionTerm
from ...criterion.similarity import ChannelStatistics
from ...recovery.patch_statistics import PatchStatistics, patch_statistics
from ...recovery.patches import LayerMatrix
from ...utils.warnings import InsufficientDataWarning, warn
from .groups import group_reads
from .readers import Reader, find_readers, patch_terms, reconstruction_terms

__all__ = ["Calibration", "CalibrationData", "Places"]


@dataclass(frozen=True)
class CalibrationData:
    """How calibration data is run through a model.

    Attributes:
        max_batches: use so many batches at most; None uses all.
        forward_fn: called as ``forward_fn(model, batch)``, for models that take their inputs in another way.
        progress: show a progress bar.
        distributed: add up what all ranks of torch.distributed see; all of them must calibrate.

    Raises:
        TypeError: ``max_batches`` is no integer, or ``forward_fn`` cannot be called.
        ValueError: it is below 1.
    """

    max_batches: int | None = None
    forward_fn: ForwardFn | None = None
    progress: bool = False
    distributed: bool = False

    def __post_init__(self) -> None:
        if self.forward_fn is not None and not callable(self.forward_fn):
            raise TypeError(f"forward_fn must be callable as forward_fn(model, batch), got {self.forward_fn!r}")
        if self.max_batches is None:
            return
        if isinstance(self.max_batches, bool) or not isinstance(self.max_batches, Integral):
            raise TypeError(f"max_batches must be None or an integer of at least 1, got {self.max_batches!r}")
        if self.max_batches < 1:
            raise ValueError(f"max_batches must be None or at least 1, got {self.max_batches!r}")


@dataclass(frozen=True)
class Places:
    """Where a model is read, for its groups: all that a calibration needs of them, so that they need not be kept.

    Attributes:
        reads: of each group that is read elsewhere than those before it.
        readers: the layers that read the groups, for the products between what they see; empty where none are taken.
    """

    reads: Sequence[ChannelSet]
    readers: Sequence[Reader]

    @classmethod
    def of(cls, groups: Iterable[tp.Group], *, products: bool) -> Places:
        """Of full groups, with products or without."""
        groups = list(groups)
        reads = {read.key(): read for read in map(group_reads, groups)}
        return cls(list(reads.values()), find_readers(groups) if products else [])


class Calibration:
    """One run over calibration data: similarity of the channels of every group, and products between what readers see.

    Args:
        model: left as it was.
        places: where to read.
        data: as for :func:`~foad_plugins.calibration.data.iter_calls`.
        options: how to run it.
        products: whether these are with products.
        patches: whether the input patches of the consumers are taken too, which takes another run; with products.

    Attributes:
        readers: the layers that read the groups; empty without products.
        grams: their products, in the same order.

    Raises:
        TypeError: data of a form that is not accepted.
        ValueError: as :func:`~foad_plugins.calibration.collect.calibrate`.

    Warns:
        InsufficientDataWarning: there are fewer samples than channels for the products of some layers.
    """

    def __init__(
        self,
        model: nn.Module,
        places: Places,
        data: Any,
        options: CalibrationData,
        *,
        products: bool = False,
        patches: bool = False,
    ) -> None:
        self.readers = places.readers
        data = reusable(data, options.max_batches) if patches else data
        statistics, self.grams = calibrate(
            model,
            data,
            places.reads,
            [reader.reads for reader in self.readers],
            max_batches=options.max_batches,
            forward_fn=options.forward_fn,
            progress=options.progress,
            distributed=options.distributed,
        )
        self._statistics = {read.key(): one for read, one in zip(places.reads, statistics, strict=True)}
        self._products = products
        self._patches: dict[nn.Module, PatchStatistics] | None = None
        if patches:
            layers = dict.fromkeys(reader.layer for reader in self.readers if LayerMatrix(reader.layer).groups == 1)
            self._patches = patch_statistics(
                model, list(layers), data, max_batches=options.max_batches, forward_fn=options.forward_fn
            )
        self._state = _ModelState(model)
        _warn_of_scarce_data(model, self.readers, self.grams)

    def holds(self, model: nn.Module, *, products: bool = False, patches: bool = False) -> bool:
        """Whether the model is still the one that was calibrated, unchanged since, with what is asked for."""
        known = (self._products or not products) and (self._patches is not None or not patches)
        return known and self._state.still_holds(model)

    def similarity(self, group: tp.Group) -> ChannelStatistics | None:
        """The statistics of a full group; None if it was not among those calibrated."""
        return self._statistics.get(group_reads(group).key())

    def terms(self, group: tp.Group) -> list[ReconstructionTerm]:
        """What the reconstruction order of a full group goes by; empty if no reader of it ran."""
        return reconstruction_terms(group, self.readers, self.grams)

    def patch_terms(self, group: tp.Group) -> list[PatchTerm]:
        """What the order by patches of a full group goes by; empty if no consumer without groups ran."""
        return patch_terms(group, self.readers, self._patches or {})


def _warn_of_scarce_data(model: nn.Module, readers: Sequence[Reader], grams: Sequence[GramStatistics]) -> None:
    names = {module: name or type(module).__name__ for name, module in model.named_modules()}
    scarce = [
        f"{names[reader.layer]!r} ({gram.samples} for {reader.units} channels)"
        for reader, gram in zip(readers, grams, strict=True)
        if 0 < gram.samples < reader.units
    ]
    if scarce:
        more = f" and {len(scarce) - 3} more" if len(scarce) > 3 else ""
        warn(
            "fewer samples (images times positions) than channels at the input of "
            f"{', '.join(scarce[:3])}{more}: regression between the channels leans on its penalty there. "
            "Give more calibration images.",
            InsufficientDataWarning,
        )


class _ModelState:
    """Tells whether a model is still what it was: the same tensors, not written to since.

    Writes through ``.data`` leave no mark on a tensor, so one value of each is compared as well.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = weakref.ref(model)
        tensors = [*model.parameters(), *model.buffers()]
        self._tensors = [(weakref.ref(tensor), tensor._version) for tensor in tensors]
        self._values = _first_values(tensors)

    def still_holds(self, model: nn.Module) -> bool:
        tensors = [*model.parameters(), *model.buffers()]
        return (
            self._model() is model
            and len(tensors) == len(self._tensors)
            and all(
                ref() is tensor and version == tensor._version
                for tensor, (ref, version) in zip(tensors, self._tensors, strict=True)
            )
            and torch.allclose(self._values, _first_values(tensors), rtol=0, atol=0, equal_nan=True)
        )


def _first_values(tensors: list[Tensor]) -> Tensor:
    if not tensors:
        return torch.empty(0)
    with torch.no_grad():
        firsts = [tensor.reshape(-1)[:1] for tensor in tensors]
        firsts = [(torch.view_as_real(one)[:, 0] if one.is_complex() else one).to(torch.float64) for one in firsts]
        # A model is on one device mostly, and then the host waits for it once.
        return torch.cat([part.to(firsts[0].device) for part in firsts]).to("cpu")
