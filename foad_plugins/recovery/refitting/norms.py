"""Batch normalization in eval mode: a gain and a shift for each channel."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["ChannelAffine", "channel_affine", "is_channel_affine"]


class ChannelAffine(NamedTuple):
    """What a batch normalization makes of a channel: ``gain * value + shift``; both (C,) in float64."""

    gain: Tensor
    shift: Tensor


def is_channel_affine(module: nn.Module) -> bool:
    """Whether a module is a batch normalization with running statistics, torch's or torchvision's frozen one."""
    if isinstance(module, _BatchNorm):
        statistics = isinstance(module.running_mean, Tensor) and isinstance(module.running_var, Tensor)
        return statistics and type(module).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward)
    return type(module).__name__ == "FrozenBatchNorm2d" and "running_mean" in module._buffers


def channel_affine(norm: Any) -> ChannelAffine:
    """Gain and shift of a normalization for which :func:`is_channel_affine` holds."""
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    gain = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight.detach().double()
    bias = torch.zeros_like(mean) if norm.bias is None else norm.bias.detach().double()
    return ChannelAffine(gain, bias - mean * gain)
