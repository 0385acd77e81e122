"""Products between the values of input patches, for an order of channels by what refitted consumers lose."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ..calibration.collect import require_batch_dim
from ..calibration.data import CalibrationData, model_device
from ..calibration.preserve import preserve_state
from ..criterion.block_elimination import PatchTerm
from ..utils.layers import first_input
from .refitting.moments import Moments
from .refitting.patches import LayerMatrix

__all__ = ["ROWS", "PatchStatistics", "patch_statistics"]

ROWS = 40
"""Rows that are drawn for each value of a patch."""


class PatchStatistics:
    """Mean products between the values of a layer's input patches, around their means.

    Args:
        layer: a convolution or linear layer with one group.
    """

    def __init__(self, layer: nn.Module) -> None:
        self._matrix = LayerMatrix(layer)
        self._moments: Moments | None = None

    @property
    def samples(self) -> int:
        """Number of patches so far."""
        return 0 if self._moments is None else self._moments.rows

    def add(self, x: Tensor, output: Tensor, limit: float, generator: torch.Generator) -> None:
        """Add patches of an input, at up to ``limit`` positions that are drawn from all."""
        count = self._matrix.count(output)
        chosen = torch.randperm(count, generator=generator)[: int(min(limit, count))].to(x.device)
        rows = self._matrix.input_rows(x, tuple(output.shape), chosen)
        nothing = rows[:, :, :0]
        if self._moments is None:
            self._moments = Moments(rows.mean(1, keepdim=True), nothing[:, :1])
        self._moments.add(rows, nothing)

    def limit(self, rows: int, calls: int) -> float:
        """Rows to be drawn from each of some calls."""
        return rows * self._matrix.unknowns * self._matrix.phases / calls + 1

    def term(self, channels: Tensor) -> PatchTerm:
        """What an elimination order goes by.

        Args:
            channels: (C, L) input channels (features) that hold each of the channels to be ordered.

        Raises:
            ValueError: nothing was added, or NaN or Inf was.
        """
        if self._moments is None or not self._moments.finite():
            raise ValueError("no patch of finite values was added")
        weight = self._matrix.weight()[0].cpu()
        size = len(weight) // self._matrix.channels
        positions = torch.arange(size)[None, :, None] * self._matrix.channels
        blocks = (positions + channels[:, None]).flatten(1)
        return PatchTerm(self._moments.centered(True).xx[0].cpu(), weight @ weight.T, blocks)


@torch.no_grad()
def patch_statistics(
    model: nn.Module,
    layers: Sequence[nn.Module],
    data: CalibrationData,
    *,
    rows: int = ROWS,
    seed: int = 0,
) -> dict[nn.Module, PatchStatistics]:
    """Run a model over data and gather products of the input patches of some layers.

    A layer with n values in a patch takes a matrix of (n, n) in float64: 2.7 MB for 64 channels and a kernel of 3 x 3,
    170 MB for 512.

    Args:
        model: left as it was.
        layers: convolution and linear layers of it, with one group each.
        data: what to run it over.
        rows: positions that are drawn for each value of a patch.
        seed: of the positions.

    Returns:
        The statistics by layer.
    """
    found = {layer: PatchStatistics(layer) for layer in layers}
    generator = torch.Generator().manual_seed(seed)
    with preserve_state(model), require_batch_dim(model), ExitStack() as stack:
        calls = list(data.calls(model_device(model)))

        def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            one = found[layer]
            one.add(first_input(args, kwargs), output, one.limit(rows, len(calls)), generator)

        for layer in layers:
            stack.callback(layer.register_forward_hook(hook, with_kwargs=True).remove)
        for call in calls:
            call.run(model, data.forward_fn)
    return found
