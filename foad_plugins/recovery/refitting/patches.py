"""Rows of a layer's input: a convolution or linear layer as a matrix product, at positions that are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

__all__ = ["LayerMatrix", "is_linear_map"]

_FORWARDS = {
    layer: layer.forward
    for layer in (
        nn.Linear,
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
    )
}


def is_linear_map(module: nn.Module) -> bool:
    """Whether a module is a linear, convolution or transposed convolution layer with torch's own forward."""
    return any(isinstance(module, layer) and type(module).forward is own for layer, own in _FORWARDS.items())


@dataclass(frozen=True, eq=False)
class LayerMatrix:
    """A layer's weight as matrices, one for each group, and its input as the rows that are multiplied by them.

    Output channel j of group g at one position is ``rows[g] @ weight()[g, :, j]``, plus the bias. A row holds the k
    inputs of a kernel's positions, position by position, each with its C/groups channels, so there are k * C/groups
    unknowns for each output channel.

    Args:
        layer: for which :func:`is_linear_map` holds.
    """

    layer: Any

    @property
    def transposed(self) -> bool:
        """Whether the layer is a transposed convolution."""
        return isinstance(self.layer, _ConvTransposeNd)

    @property
    def groups(self) -> int:
        """Number of groups G; 1 for a linear layer."""
        return int(getattr(self.layer, "groups", 1))

    @property
    def outputs(self) -> int:
        """Number of output channels or features."""
        weight = self.layer.weight
        return int(weight.shape[1] * self.groups if self.transposed else weight.shape[0])

    @property
    def unknowns(self) -> int:
        """Number n of weights of one output channel."""
        return int(self.layer.weight.numel() // max(1, self.outputs))

    @property
    def channels(self) -> int:
        """Number of input channels (features) of a group."""
        weight = self.layer.weight
        return int(weight.shape[0] // self.groups if self.transposed else weight.shape[1])

    @property
    def phases(self) -> int:
        """A transposed convolution uses each weight at one of so many output positions."""
        return math.prod(self.layer.stride) if self.transposed else 1

    def weight(self) -> Tensor:
        """The weight as (G, n, outputs/G) in float64."""
        weight = self.layer.weight.detach().double()
        if isinstance(self.layer, _ConvNd):
            weight = weight.flatten(2)
            if self.transposed:
                weight = weight.unflatten(0, (self.groups, -1)).permute(0, 3, 1, 2)
            else:
                weight = weight.unflatten(0, (self.groups, -1)).permute(0, 3, 2, 1)
            return weight.flatten(1, 2)
        return weight.mT[None]

    def to_layer(self, matrices: Tensor) -> Tensor:
        """Matrices (G, n, outputs/G) in the form and dtype of the layer's weight."""
        weight = self.layer.weight
        if isinstance(self.layer, _ConvNd):
            size = math.prod(self.layer.kernel_size)
            parts = matrices.unflatten(1, (size, -1))
            parts = parts.permute(0, 2, 3, 1) if self.transposed else parts.permute(0, 3, 2, 1)
            return parts.reshape(weight.shape).to(weight.dtype)
        return matrices[0].mT.to(weight.dtype)

    def count(self, output: Tensor) -> int:
        """Number of rows: images times output positions."""
        return output.numel() // max(1, output.shape[-1 if isinstance(self.layer, nn.Linear) else 1])

    def output_rows(self, output: Tensor, chosen: Tensor) -> Tensor:
        """Rows (R, channels) of an output of this layer, or of one of its shape but for the number of channels."""
        if isinstance(self.layer, nn.Linear):
            return output.reshape(-1, output.shape[-1])[chosen]
        positions = math.prod(output.shape[2:])
        return output.flatten(2)[chosen // positions, :, chosen % positions]

    def input_rows(self, x: Tensor, output_size: tuple[int, ...], chosen: Tensor) -> Tensor:
        """Rows of an input.

        Args:
            x: the layer's input; of a convolution with a batch dimension.
            output_size: shape of the output that belongs to it.
            chosen: R row numbers, counted over images and output positions.

        Returns:
            (G, R, n) in float32, or float64 if ``x`` is.
        """
        layer = self.layer
        x = x if x.dtype == torch.float64 else x.float()
        if isinstance(layer, nn.Linear):
            return x.reshape(-1, x.shape[-1])[chosen][None]
        if layer.padding_mode != "zeros":
            x = F.pad(x, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
        channels = x.shape[1]
        # Channels last, so that one position is one piece of memory; taps outside the maps get the row of zeros at the
        # end.
        flat = x.new_zeros(x.shape[0] * math.prod(x.shape[2:]) + 1, channels)
        flat[:-1].view(x.shape[0], *x.shape[2:], channels).copy_(x.movedim(1, -1))
        taps = self._taps(x.shape[2:], output_size[2:], chosen, len(flat) - 1)
        rows = flat.index_select(0, taps.flatten()).view(len(chosen), taps.shape[1], self.groups, -1)
        return rows.permute(2, 0, 1, 3).flatten(2)

    def _taps(self, size: tuple[int, ...], output_size: tuple[int, ...], chosen: Tensor, outside: int) -> Tensor:
        """For each row (R, k) the position of the input under each kernel position."""
        layer = self.layer
        device = chosen.device
        positions = math.prod(output_size)
        image, rest = chosen // positions, chosen % positions
        taps = image[:, None]
        inside = torch.ones_like(taps, dtype=torch.bool)
        begins = self._begins()
        for dim in range(len(size)):
            below = math.prod(output_size[dim + 1 :])
            place, rest = rest // below, rest % below
            kernel = torch.arange(layer.kernel_size[dim], device=device) * layer.dilation[dim]
            if self.transposed:
                shifted = place[:, None] + begins[dim] - kernel
                at = torch.div(shifted, layer.stride[dim], rounding_mode="floor")
                fits = (shifted == at * layer.stride[dim]) & (at >= 0) & (at < size[dim])
            else:
                at = place[:, None] * layer.stride[dim] - begins[dim] + kernel
                fits = (at >= 0) & (at < size[dim])
            taps = (taps[:, :, None] * size[dim] + at[:, None]).flatten(1)
            inside = (inside[:, :, None] & fits[:, None]).flatten(1)
        return torch.where(inside, taps, outside)

    def _begins(self) -> tuple[int, ...]:
        """Padding before the first position of each dimension that is not in the maps already."""
        layer = self.layer
        if layer.padding_mode != "zeros":
            return (0,) * len(layer.kernel_size)
        if isinstance(layer.padding, str):
            # Two numbers for each dimension, the last dimension first.
            return tuple(layer._reversed_padding_repeated_twice[::-1][1::2])
        return tuple(layer.padding)
