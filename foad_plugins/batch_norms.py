"""Batch normalisation statistics after pruning, moved as far as the calibration data says that they moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from .batches import Call, as_calls, model_device
from .capture import ForwardFn
from .quiet import undisturbed

__all__ = ["Moments", "move_statistics", "observed_moments"]

Moments = dict[nn.Module, tuple[Tensor, Tensor]]
"""Mean and variance of each normalisation layer's input, (C,) each."""


def observed_moments(
    model: nn.Module, data: Any, *, max_batches: int | None = None, forward_fn: ForwardFn | None = None
) -> Moments:
    """What ``torch.optim.swa_utils.update_bn`` would write into every batch normalisation, without writing it.

    The normalisation layers run on their batches' own statistics; everything else, dropout too, is in eval mode. The
    model is left as it was. Batches of one image are passed over.

    Args:
        model: the model.
        data: as for :func:`~foad_plugins.batches.as_calls`; readable more than once.
        max_batches: use so many batches at most; None uses all.
        forward_fn: called as ``forward_fn(model, batch)`` instead of the model itself.

    Returns:
        The moments by layer, of those that keep running statistics and ran; empty if no batch has two images.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return {}
    calls = (call for call in as_calls(data, model_device(model), max_batches) if _images(call) > 1)
    with undisturbed(model):
        # Calls are no lists or tuples, so that update_bn hands them to the model as they are.
        update_bn(calls, _OnlyNorms(model, norms, forward_fn))
        return {
            norm: (norm.running_mean.clone(), norm.running_var.clone())
            for norm in norms
            if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked
        }


@torch.no_grad()
def move_statistics(before: Moments, after: Moments, kept: Mapping[nn.Module, Tensor]) -> None:
    """Shift every layer's running mean, and scale its running variance, as the observed moments shifted and scaled.

    Compared with putting the new moments in place of the old statistics, what is wrong with the calibration data
    cancels: it is smaller than the training set and differs from it before pruning as after. A network that pruning has
    not changed keeps its statistics.

    Args:
        before: moments of the network before pruning.
        after: moments of the same layers after pruning.
        kept: for layers that lost channels, the indices of those that are left.
    """
    for norm, (mean, variance) in after.items():
        if norm not in before or not isinstance(norm, _BatchNorm):
            continue
        index = kept.get(norm)
        old_mean, old_variance = (moment if index is None else moment[index.to(mean.device)] for moment in before[norm])
        if norm.running_mean is None or norm.running_var is None:
            continue
        # New tensors, so that a caller who still holds the old ones can go back.
        norm.running_mean = norm.running_mean + (mean - old_mean)
        norm.running_var = norm.running_var * ((variance + norm.eps) / (old_variance + norm.eps))


def _images(call: Call) -> int:
    tensors = [value for value in (*call.args, *call.kwargs.values()) if isinstance(value, Tensor)]
    return len(tensors[0]) if tensors else 2


class _OnlyNorms(nn.Module):
    """A model that takes whole calls and puts nothing but its batch normalisations into train mode."""

    def __init__(self, model: nn.Module, norms: list[_BatchNorm], forward_fn: ForwardFn | None) -> None:
        super().__init__()
        self.model = model
        self._norms = norms
        self._forward_fn = forward_fn

    def train(self, mode: bool = True) -> _OnlyNorms:
        """Switch the normalisation layers alone."""
        for norm in self._norms:
            norm.training = mode
        return self

    def forward(self, call: Call) -> Any:
        """Call the model."""
        if self._forward_fn is not None:
            return self._forward_fn(self.model, call.item)
        return self.model(*call.args, **call.kwargs)
