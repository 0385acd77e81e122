"""What a convolution or Linear layer multiplies for one output: patches of its input, and its kernels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd


def kernels(layer: nn.Module) -> torch.Tensor:
    """Weights of a layer as (outputs, input channels, K), K the positions of a kernel (1 of a Linear layer).

    Those of a grouped convolution are 0 for the input channels of the other groups.

    Raises:
        TypeError: if the layer is neither, or a transposed convolution.
    """
    if isinstance(layer, nn.Linear):
        return layer.weight.detach().unsqueeze(2)
    if not isinstance(layer, _ConvNd) or layer.transposed:
        raise TypeError(f"a convolution, not transposed, or a Linear layer has kernels, got {type(layer).__name__}")
    weight = layer.weight.detach().flatten(2)
    if layer.groups == 1:
        return weight
    outputs, inputs = layer.out_channels // layer.groups, layer.in_channels // layer.groups
    dense = weight.new_zeros(layer.out_channels, layer.in_channels, weight.shape[2])
    for number, block in enumerate(weight.split(outputs)):
        dense[number * outputs : (number + 1) * outputs, number * inputs : (number + 1) * inputs] = block
    return dense


def sampled_patches(layer: nn.Module, inputs: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Patches that a layer multiplies with its kernels, at some positions of its output.

    Args:
        layer: a convolution, not transposed, or a Linear layer, whose positions are those of all inner dimensions.
        inputs: its input (N, C, ...), of a Linear layer (N, ..., C).
        uniforms: (N, P) numbers from [0, 1), which choose P positions of each image; all of them where there are
            fewer.

    Returns:
        (patches, C, K), a copy: for a layer without bias ``einsum("fck,pck->pf", kernels(layer), patches)`` are the
        outputs.

    Raises:
        ValueError: if a convolution's input has no batch dimension.
    """
    if isinstance(layer, _ConvNd):
        windows = _windows(layer, inputs)
        places = windows.shape[2 : inputs.dim()]
    else:
        windows = inputs.flatten(1, -2).movedim(-1, 1) if inputs.dim() > 2 else inputs.unsqueeze(2)
        places = windows.shape[2:]
    total = math.prod(places)
    if uniforms.shape[1] < total:
        chosen = (uniforms * total).long().clamp_max(total - 1).to(inputs.device)
    else:
        chosen = torch.arange(total, device=inputs.device).expand(len(inputs), -1)
    images = torch.arange(len(inputs), device=inputs.device).repeat_interleave(chosen.shape[1])
    # Indices with a slice between them come first in what is picked.
    index: Any = (images, slice(None), *_by_axis(chosen.flatten(), places))
    picked = windows[index]
    return picked.flatten(2) if picked.dim() > 2 else picked.unsqueeze(2)


def _by_axis(flat: torch.Tensor, shape: torch.Size) -> list[torch.Tensor]:
    """The same as ``torch.unravel_index``, whose first call imports for seconds."""
    indices = []
    for size in reversed(shape):
        indices.append(flat % size)
        flat = flat // size
    return indices[::-1]


def _windows(layer: _ConvNd, inputs: torch.Tensor) -> torch.Tensor:
    """A view (N, C, outputs..., kernel...) of a convolution's padded input."""
    dims = len(layer.kernel_size)
    if inputs.dim() != dims + 2:
        raise ValueError(f"its input has {inputs.dim()} dimensions instead of {dims + 2}")
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    windows = F.pad(inputs, layer._reversed_padding_repeated_twice, mode=mode)
    for axis, (size, stride, dilation) in enumerate(zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)):
        windows = windows.unfold(2 + axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    return windows
