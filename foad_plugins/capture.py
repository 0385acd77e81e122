"""Reading feature maps where layers take them in or give them out, while the model runs over calibration data."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from tqdm.auto import tqdm

from .batches import as_calls, model_device
from .quiet import undisturbed
from .similarity import ChannelStatistics

__all__ = ["ForwardFn", "Reads", "Tap", "batches_only", "calibrate_channels"]

ForwardFn = Callable[[nn.Module, Any], Any]


@dataclass(frozen=True, eq=False)
class Tap:
    """A place where the feature maps of a set of channels can be read.

    Attributes:
        module: a convolution, a linear or a normalisation layer.
        side: whether its input or its output is read.
        columns: (C, k) indices on the CPU: the k channels (or features) of the tensor that hold channel c's map; k is
            1 but for flattened maps and the like. None takes the tensor's channels as they are.
    """

    module: nn.Module
    side: Literal["input", "output"]
    columns: Tensor | None = None

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
        picked = tensor[:, self.columns.flatten().to(tensor.device)]
        return picked.unflatten(1, tuple(self.columns.shape))


@dataclass(frozen=True, eq=False)
class Reads:
    """All the places where one set of coupled channels is read.

    Attributes:
        name: of the channels, for messages.
        num_channels: C.
        taps: where they are read; empty if nowhere.
    """

    name: str
    num_channels: int
    taps: tuple[Tap, ...]

    def key(self) -> tuple[Any, ...]:
        """Equal for reads that give the same statistics."""
        return self.num_channels, tuple(sorted({tap.key() for tap in self.taps}, key=repr))


def calibrate_channels(
    model: nn.Module,
    data: Any,
    reads: Sequence[Reads],
    *,
    max_batches: int | None = None,
    forward_fn: ForwardFn | None = None,
    progress: bool = False,
) -> list[ChannelStatistics]:
    """Run the model over calibration data and gather the channel statistics of every set of channels.

    The model runs in eval mode and without gradients; it is left as it was, also if it raises. One tensor read by
    several layers counts once for a set of channels; different tensors count alike.

    Args:
        model: the model, on any device.
        data: as for :func:`~foad_plugins.batches.as_calls`.
        reads: the sets of channels.
        max_batches: use so many batches at most; None uses all.
        forward_fn: called as ``forward_fn(model, batch)`` instead of the model itself.
        progress: show a progress bar over batches.

    Returns:
        One object for each of ``reads``; its ``count`` is 0 if none of the layers ran.

    Raises:
        TypeError: data of a form that is not accepted.
        ValueError: no batch, images without a batch dimension, or NaN or Inf in a feature map (names the layer).
    """
    names = {module: name or type(module).__name__ for name, module in model.named_modules()}
    statistics = [ChannelStatistics(read.num_channels) for read in reads]
    seen: list[list[_Sighting]] = [[] for _ in reads]
    targets: dict[tuple[nn.Module, str], list[tuple[int, Tap]]] = {}
    for number, read in enumerate(reads):
        for tap in {tap.key(): tap for tap in read.taps}.values():
            targets.setdefault((tap.module, tap.side), []).append((number, tap))

    def take(module: nn.Module, side: str, tensor: Any) -> None:
        if not isinstance(tensor, Tensor):
            return
        for number, tap in targets[module, side]:
            sighting = _Sighting.of(tensor, tap)
            if any(sighting.same(other) for other in seen[number]):
                continue
            seen[number].append(sighting)
            try:
                statistics[number].update(tap.maps(tensor))
            except (TypeError, ValueError) as error:
                raise type(error)(f"at the {side} of layer {names[module]!r}: {error}") from None

    with ExitStack() as stack, torch.inference_mode(False), torch.no_grad():
        stack.enter_context(undisturbed(model))
        stack.enter_context(batches_only(model))
        for module, side in targets:
            stack.callback(_listen(module, side, take))
        calls = as_calls(data, model_device(model), max_batches)
        bar = tqdm(calls, desc="calibrating", unit="batch", total=_length(data, max_batches), disable=not progress)
        for call in bar:
            if forward_fn is None:
                model(*call.args, **call.kwargs)
            else:
                forward_fn(model, call.item)
            for sightings in seen:
                sightings.clear()
    return statistics


def _length(data: Any, max_batches: int | None) -> int | None:
    """How many batches to expect, for the progress bar; None where the data does not say."""
    if isinstance(data, (Tensor, tuple, Mapping)):
        return 1
    try:
        return min(len(data), max_batches or len(data))
    except TypeError:
        return None


def _listen(module: nn.Module, side: str, take: Callable[[nn.Module, str, Any], None]) -> Callable[[], None]:
    """Hand every tensor that passes one side of a module to ``take``; returns what ends it."""

    def on_input(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        take(layer, side, args[0] if args else kwargs.get("input"))

    def on_output(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        take(layer, side, output)

    if side == "input":
        return module.register_forward_pre_hook(on_input, with_kwargs=True).remove
    return module.register_forward_hook(on_output).remove


@contextmanager
def batches_only(model: nn.Module) -> Iterator[None]:
    """Refuse a single image inside, which convolutions would take for a batch without a word.

    Raises:
        ValueError: a convolution gets maps without a batch dimension (names it).
    """
    handles = [
        module.register_forward_pre_hook(_batched(name or type(module).__name__), with_kwargs=True)
        for name, module in model.named_modules()
        if isinstance(module, _ConvNd)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _batched(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
    def check(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        maps = args[0] if args else kwargs.get("input")
        spatial = len(layer.kernel_size) if isinstance(layer, _ConvNd) else 0
        if isinstance(maps, Tensor) and maps.dim() == spatial + 1:
            raise ValueError(
                f"layer {name!r} got an input of {maps.dim()} dimensions, without a batch dimension: "
                f"give calibration images as (N, C, ...), {spatial + 2} dimensions"
            )

    return check


@dataclass(frozen=True, eq=False)
class _Sighting:
    """What a tap saw, so that one tensor under two readers is known again: views share their base and its version."""

    base: weakref.ref[Tensor]
    extent: tuple[Any, ...]

    @classmethod
    def of(cls, tensor: Tensor, tap: Tap) -> _Sighting:
        base = tensor if tensor._base is None else tensor._base
        version = 0 if tensor.is_inference() else tensor._version
        return cls(weakref.ref(base), (version, tensor.storage_offset(), tensor.numel(), tap.key()[2]))

    def same(self, other: _Sighting) -> bool:
        mine = self.base()
        return mine is not None and mine is other.base() and self.extent == other.extent
