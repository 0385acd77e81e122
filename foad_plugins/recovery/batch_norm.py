"""Batch normalization statistics after pruning, moved as far as the calibration data says that they moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..calibration.data import CalibrationData, model_device
from ..calibration.preserve import preserve_state
from ..utils.layers import first_input

__all__ = ["Moments", "MomentsByLayer", "input_moments", "shift_running_stats"]


class Moments(NamedTuple):
    """Mean and variance (C,) of what a normalization layer was given in one call, and how many values each is over."""

    mean: Tensor
    variance: Tensor
    values: int


MomentsByLayer = dict[nn.Module, list[Moments]]


def input_moments(model: nn.Module, data: CalibrationData) -> MomentsByLayer:
    """What every batch normalization is given, call by call, in eval mode.

    Args:
        model: the model; left as it was.
        data: what to run it over; readable more than once.

    Returns:
        The moments by layer, for those that keep running statistics and ran.
    """
    observed: MomentsByLayer = {}

    def take(norm: _BatchNorm, features: Tensor) -> None:
        observed.setdefault(norm, []).append(_moments(features))

    with preserve_state(model):
        _run(model, data, take)
    return observed


@torch.no_grad()
def shift_running_stats(
    model: nn.Module,
    before: MomentsByLayer,
    kept: Mapping[nn.Module, Tensor],
    data: CalibrationData,
) -> None:
    """Move the running statistics of a pruned model as the moments of its layers' inputs have moved.

    A running variance is scaled as much as the variance of the layer's input on the same images, a running mean keeps
    its place against the mean of that input, in units of its deviation. Layers are corrected from the input on, each
    with those before it corrected already. ``torch.optim.swa_utils.update_bn`` would put the moments of the calibration
    data in place of what training gathered on far more images; compared with that, what is particular to the
    calibration data cancels, and a network that pruning has not changed keeps its statistics.

    Args:
        model: after pruning, in place.
        before: of the model before pruning, on the same data.
        kept: for layers that lost channels, the indices of those that are left.
        data: what to run it over; readable more than once.
    """
    old = {
        norm: (norm.running_mean, norm.running_var)
        for norm in before
        if isinstance(norm, _BatchNorm) and norm.running_mean is not None and norm.running_var is not None
    }
    sums: dict[_BatchNorm, tuple[Tensor | float, Tensor | float, int]] = {}
    calls = dict.fromkeys(old, 0)

    def take(norm: _BatchNorm, features: Tensor) -> None:
        call = calls.get(norm, -1)
        if not 0 <= call < len(before.get(norm, ())):
            return
        calls[norm] += 1
        now, then = _moments(features), before[norm][call]
        index = kept.get(norm)
        mean, variance = (moment if index is None else moment[index.to(moment.device)] for moment in then[:2])
        running_mean, running_variance = old[norm]
        factor = (now.variance + norm.eps) / (variance + norm.eps)
        shift = (now.mean - mean) + (running_mean - mean) * (factor.sqrt() - 1)
        # The layer itself works on what is set here, so that the layers behind it see corrected maps.
        _set(norm, running_mean + shift, running_variance * factor)
        shifts, factors, values = sums.get(norm, (0.0, 0.0, 0))
        sums[norm] = shifts + shift * now.values, factors + factor * now.values, values + now.values

    with preserve_state(model):
        _run(model, data, take)
    for norm, (shift, factor, values) in sums.items():
        # New tensors, so that a caller who still holds the old ones can go back.
        _set(norm, old[norm][0] + shift / values, old[norm][1] * (factor / values))


def _set(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    for name, value in (("running_mean", mean), ("running_var", variance)):
        setattr(norm, name, value.to(getattr(norm, name).dtype))


def _moments(features: Tensor) -> Moments:
    values = features.detach().transpose(0, 1).flatten(1)
    values = values if values.dtype == torch.float64 else values.float()
    variance, mean = torch.var_mean(values, dim=1, correction=0)
    return Moments(mean, variance, values.shape[1])


@torch.no_grad()
def _run(model: nn.Module, data: CalibrationData, take: Callable[[_BatchNorm, Tensor], None]) -> None:
    """Run the data through a model in eval mode and show the input of every batch normalization."""

    def hook(norm: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert isinstance(norm, _BatchNorm)
        take(norm, first_input(args, kwargs))

    with ExitStack() as stack:
        for norm in model.modules():
            if isinstance(norm, _BatchNorm) and norm.track_running_stats:
                stack.callback(norm.register_forward_pre_hook(hook, with_kwargs=True).remove)
        for call in data.calls(model_device(model)):
            call.run(model, data.forward_fn)
