"""Run a model over calibration data and collect statistics of feature maps at its layers' inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from tqdm.auto import tqdm

from ..criterion.gram import GramStatistics
from ..criterion.kernels.dispatch import estimated_work
from ..criterion.similarity import ChannelStatistics
from ..utils.layers import first_input
from ..utils.text import enumerate_some
from .data import CalibrationData, Call, EmptyDataError, ForwardFn, model_device, tensors_in
from .distributed import all_reduce_statistics, raise_on_all_ranks
from .observers import ChannelSet, DeferredFiniteCheck, GramObserver, Observer, SimilarityObserver
from .preserve import preserve_state

__all__ = ["MissingBatchDimError", "calibrate", "not_finite_state", "require_batch_dim"]

# Images run through the model at once on a CPU, and the values of their pixels for each thread. Maps of more images
# leave the caches, and each allocation of 32 MiB or more may get new pages from the system: ResNet-50 then takes a
# quarter longer.
_IMAGES_AT_ONCE = 64
_VALUES_AT_ONCE = 2**20


class MissingBatchDimError(ValueError):
    """A single image where a batch is needed."""


def calibrate(
    model: nn.Module,
    data: CalibrationData,
    channel_sets: Sequence[ChannelSet],
    grams: Sequence[ChannelSet] = (),
) -> tuple[list[ChannelStatistics], list[GramStatistics]]:
    """Run the model over calibration data and collect statistics of sets of channels.

    The model runs in eval mode and without gradients. It is unchanged afterwards, also after an exception. A tensor at
    several hook points counts once for a set of channels; different tensors have equal weight.

    Args:
        model: the model, on any device.
        data: the calibration data. With ``distributed`` each rank has its own data, and one without a batch is accepted
            if another rank has one. An error on one rank is an error on all.
        channel_sets: the sets of channels whose similarity is needed.
        grams: sets of channels with one hook point each whose products are needed.

    Returns:
        One object for each of ``channel_sets`` and one for each of ``grams``; ``count`` or ``samples`` is 0 if
        none of the layers ran.

    Raises:
        TypeError: a batch of a form that is not accepted.
        ValueError: no batch, images without a batch dimension, or NaN or Inf in a feature map (names the layer).
        RuntimeError: another rank failed, or torch.distributed is not initialized.
    """
    products = GramObserver(grams)
    similarities = [SimilarityObserver(channels, products) for channels in channel_sets]
    # Similarities first: they may give the products as well.
    all_observers: list[Observer] = [*similarities, products]
    observers: dict[tuple[nn.Module, str], list[Observer]] = {}
    for observer in all_observers:
        for place in observer.hook_points():
            observers.setdefault(place, []).append(observer)

    def observe(side: str, module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        # A hook with the keyword arguments at the input of a layer, or with the output.
        tensor = first_input(args, result) if side == "input" else result
        if not isinstance(tensor, Tensor):
            return
        try:
            for observer in observers[module, side]:
                observer.observe(module, side, tensor)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"at the {side} of layer {_name(model, module)!r}: {error}{not_finite_state(model)}"
            ) from None

    with (
        raise_on_all_ranks(data.distributed, ignore=EmptyDataError),
        ExitStack() as stack,
        torch.inference_mode(False),
        torch.no_grad(),
    ):
        stack.enter_context(preserve_state(model))
        work = stack.enter_context(estimated_work())
        for module, side in observers:
            hook = partial(observe, side)
            handle = (
                module.register_forward_pre_hook(hook, with_kwargs=True)
                if side == "input"
                else module.register_forward_hook(hook)
            )
            stack.enter_context(handle)
        length = _length(data)
        pairs = sum(len({point.key() for point in one.hook_points}) * one.num_channels**2 // 2 for one in channel_sets)
        calls = data.calls(model_device(model))
        bar = tqdm(calls, desc="calibrating", unit="batch", total=length, disable=not data.progress)
        checked: set[tuple[int, ...]] = set()
        for number, call in enumerate(bar):
            tensors = list(tensors_in(call.batch))
            images = len(tensors[0]) if tensors else 1
            work.pairs = max(work.pairs, pairs * images * (length or number + 1))
            # Once for each form of a batch: hooks on all convolutions take a GPU's host longer than a layer takes.
            form = tuple(tensor.dim() for tensor in tensors)
            for part in _parts(call, data.forward_fn):
                with nullcontext() if form in checked else require_batch_dim(model):
                    part.run(model, data.forward_fn)
                checked.add(form)
                _check(model, [check for observer in all_observers for check in observer.end_batch()])
    statistics = [similarity.statistics for similarity in similarities]
    if data.distributed:
        all_reduce_statistics([*statistics, *products.statistics], model_device(model) or torch.device("cpu"))
    return statistics, products.statistics


def _parts(call: Call, forward_fn: ForwardFn | None) -> Iterable[Call]:
    """A large batch on a CPU in parts, whose feature maps fit into the caches and need less memory."""
    images = call.args[0] if len(call.args) == 1 and not call.kwargs else None
    if forward_fn is not None or not isinstance(images, Tensor) or images.device.type != "cpu" or images.dim() < 2:
        return [call]
    values = _VALUES_AT_ONCE * torch.get_num_threads()
    at_once = min(_IMAGES_AT_ONCE, max(1, values // max(1, images[:1].numel())))
    # Parts of equal size: a single last image would take as long as several.
    return [Call((part,), part) for part in images.tensor_split(max(1, math.ceil(len(images) / at_once)))]


def _name(model: nn.Module, module: nn.Module) -> str:
    """For an error message."""
    return next((name for name, other in model.named_modules() if other is module), "") or type(module).__name__


def not_finite_state(model: nn.Module) -> str:
    """An addition to a message if the model itself contains NaN or Inf."""
    state = [*model.named_parameters(), *model.named_buffers()]
    names = [name for name, value in state if value.is_floating_point() and not value.isfinite().all()]
    return f"; there is NaN or Inf in the model's own {enumerate_some(map(repr, names), 3)}" if names else ""


def _check(model: nn.Module, unchecked: Sequence[DeferredFiniteCheck]) -> None:
    """Make the finite checks of a batch, all at once: each answer that the host waits for keeps a GPU idle.

    Raises:
        ValueError: some maps are not finite (names the layer).
    """
    if not unchecked:
        return
    first = unchecked[0].sum_of_squares
    sums = [check.sum_of_squares for check in unchecked]
    if any(one.dtype != first.dtype or one.device != first.device for one in sums):
        sums = [one.to(first.device, torch.float64) for one in sums]
    for check, finite in zip(unchecked, torch.stack(sums).isfinite().tolist(), strict=True):
        if not finite:
            where = f"at the {check.side} of layer {_name(model, check.module)!r}"
            raise ValueError(f"{where}: {check.problem}{not_finite_state(model)}")


def _length(data: CalibrationData) -> int | None:
    """The number of batches for the progress bar; None where the data has no length."""
    if isinstance(data.data, (Tensor, tuple, Mapping)):
        return 1
    try:
        return min(len(data.data), data.max_batches or len(data.data))
    except TypeError:
        return None


@contextmanager
def require_batch_dim(model: nn.Module) -> Iterator[None]:
    """Refuse a single image inside, which convolutions accept without an error.

    Raises:
        ValueError: a convolution gets maps without a batch dimension (names it).
    """
    handles = [
        module.register_forward_pre_hook(_batched(model), with_kwargs=True)
        for module in model.modules()
        if isinstance(module, _ConvNd)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _batched(model: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
    def check(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        maps = first_input(args, kwargs)
        spatial = len(layer.kernel_size) if isinstance(layer, _ConvNd) else 0
        if isinstance(maps, Tensor) and maps.dim() == spatial + 1:
            raise MissingBatchDimError(
                f"layer {_name(model, layer)!r} got an input of {maps.dim()} dimensions, without a batch dimension: "
                f"give calibration images as (N, C, ...), {spatial + 2} dimensions"
            )

    return check
