"""Correct BatchNorm running statistics after pruning by the shift observed on the calibration data."""

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
    """Mean and variance (C,) of the input of a normalization layer in one call, and the number of values of each."""

    mean: Tensor
    variance: Tensor
    values: int


MomentsByLayer = dict[nn.Module, list[Moments]]


def input_moments(model: nn.Module, data: CalibrationData) -> MomentsByLayer:
    """Moments of the input of every batch normalization in eval mode, one entry per call.

    Args:
        model: the model; unchanged.
        data: calibration data that can be read more than once.

    Returns:
        The moments by layer, for layers with running statistics that ran.
    """
    observed: MomentsByLayer = {}

    def observe(norm: _BatchNorm, features: Tensor) -> None:
        observed.setdefault(norm, []).append(_moments(features))

    with preserve_state(model):
        _run(model, data, observe)
    return observed


@torch.no_grad()
def shift_running_stats(
    model: nn.Module,
    before: MomentsByLayer,
    kept: Mapping[nn.Module, Tensor],
    data: CalibrationData,
) -> None:
    """Correct the running statistics of a pruned model by the shift of its layers' inputs.

    With m, v the moments of the input before pruning and m', v' after it, on the same images::

        running_var'  = running_var * (v' + eps) / (v + eps)
        running_mean' = m' + (running_mean - m) * sqrt((v' + eps) / (v + eps))

    Layers are corrected in the order in which they run, so that later ones see corrected inputs.
    ``torch.optim.swa_utils.update_bn`` replaces the statistics of the training data by those of the few calibration
    images. Here the peculiarities of these images cancel, and a network that has not changed keeps its statistics.

    Args:
        model: after pruning, in place.
        before: of the model before pruning, on the same data.
        kept: for layers that lost channels, the indices of their kept channels.
        data: calibration data that can be read more than once.
    """
    old = {
        norm: (norm.running_mean, norm.running_var)
        for norm in before
        if isinstance(norm, _BatchNorm) and norm.running_mean is not None and norm.running_var is not None
    }
    sums: dict[_BatchNorm, tuple[Tensor | float, Tensor | float, int]] = {}
    calls = dict.fromkeys(old, 0)

    def observe(norm: _BatchNorm, features: Tensor) -> None:
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
        # Set before the layer runs, so that later layers see corrected maps.
        _set(norm, running_mean + shift, running_variance * factor)
        shifts, factors, values = sums.get(norm, (0.0, 0.0, 0))
        sums[norm] = shifts + shift * now.values, factors + factor * now.values, values + now.values

    with preserve_state(model):
        _run(model, data, observe)
    for norm, (shift, factor, values) in sums.items():
        # New tensors, so that a rollback can restore the old ones.
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
def _run(model: nn.Module, data: CalibrationData, observe: Callable[[_BatchNorm, Tensor], None]) -> None:
    """Run the model on the data in eval mode; ``observe`` gets the input of every batch normalization."""

    def hook(norm: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert isinstance(norm, _BatchNorm)
        observe(norm, first_input(args, kwargs))

    with ExitStack() as stack:
        for norm in model.modules():
            if isinstance(norm, _BatchNorm) and norm.track_running_stats:
                stack.callback(norm.register_forward_pre_hook(hook, with_kwargs=True).remove)
        for call in data.calls(model_device(model)):
            call.run(model, data.forward_fn)
