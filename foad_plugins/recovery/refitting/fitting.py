"""One layer: what it should give, and the weights that come nearest to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .dual import Rows
from .kept import Correlation
from .lockstep import Solvable, Stop
from .moments import Moments
from .norms import ChannelAffine, channel_affine
from .patches import LayerMatrix
from .ridge import Fit, solve

__all__ = ["LayerProblem"]

# Small groups, as of depthwise layers, get more rows than their few weights need, because these cost nothing.
_LEAST_ROWS = 4096
# Channels that their batch normalization scales to less than this share of the others' have no output to be fitted.
_NO_GAIN = 1e-6


class LayerProblem:
    """The regression of one layer.

    Args:
        name: of the layer, for messages.
        original: the layer in the original.
        pruned: the layer in the pruned network.
        kept: the original's channels that are left; None to find them by their maps.
    """

    def __init__(self, name: str, original: Solvable, pruned: Solvable, kept: Tensor | None) -> None:
        self.name = name
        self.matrix = LayerMatrix(pruned.layer)
        self._layer: Any = pruned.layer
        self._norm: Any = pruned.norm
        self._at_sum = pruned.at_sum
        self._kept = kept
        self._affines = (
            (channel_affine(original.norm), channel_affine(pruned.norm))
            if original.norm is not None and pruned.norm is not None
            else None
        )

    def wanted_rows(self, per_unknown: int | None) -> float:
        """How many rows the regression should have."""
        if per_unknown is None:
            return float("inf")
        return max(per_unknown * self.matrix.unknowns * self.matrix.phases, _LEAST_ROWS)

    @property
    def has_constant(self) -> bool:
        """Whether there is a place for a constant: a bias, or a running mean."""
        return self._layer.bias is not None or self._norm is not None

    def belong_together(self, stops: Sequence[tuple[Stop, Stop]]) -> bool:
        """Whether rows of the two networks are of the same images and positions, as far as sizes show it."""
        linear = isinstance(self._layer, nn.Linear)
        for old, new in stops:
            assert new.x is not None
            assert old.output is not None
            inputs, outputs = (tensor.shape[:-1] if linear else tensor.shape[:1] for tensor in (new.x, old.output))
            sums = [one.other.shape[:1] for one in (old, new) if one.other is not None]
            if inputs != outputs or len(set(sums)) > 1:
                return False
        return True

    def sums(
        self, stops: Sequence[tuple[Stop, Stop]], per_unknown: int | None, generator: torch.Generator
    ) -> tuple[Moments, Moments] | tuple[Rows, Rows]:
        """What the rows of all passes give: those to fit to, and those that are left out.

        Args:
            stops: of the original and the pruned network, for each pass.
            per_unknown: rows for each weight of an output channel; None takes all.
            generator: draws the rows.

        Raises:
            ValueError: NaN or Inf in the rows, or the kept channels cannot be told.
        """
        limit = self.wanted_rows(per_unknown) / len(stops)
        if self._kept is None:
            self._kept = self._match(stops, generator)
        counts = [self.matrix.count(old.output) for old, _ in stops if old.output is not None]
        few = sum(min(limit, count) for count in counts) <= self.matrix.unknowns
        fit: Any = None
        left_out: Any = None
        for number, (old, new) in enumerate(stops):
            x, y = self._rows(old, new, limit, generator)
            if fit is None:
                empty = Rows(x[:, :0], y[:, :0]), Rows(x[:, :0], y[:, :0])
                origins = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
                fit, left_out = empty if few else (Moments(*origins), Moments(*origins))
            if len(stops) >= 4:
                (left_out if number % 4 == 3 else fit).add(x, y)
            else:
                # Indices from the host: a mask on a device would make the host wait for it.
                numbers = torch.arange(x.shape[1])
                fourth = numbers % 4 == 3
                for sums, rows in ((fit, numbers[~fourth]), (left_out, numbers[fourth])):
                    sums.add(x[:, rows.to(x.device)], y[:, rows.to(y.device)])
        if not fit.finite() or not left_out.finite():
            raise ValueError(f"NaN or Inf at layer {self.name!r}, in its input or in what the original gives there")
        return fit, left_out

    def solve(self, fit: Moments | Rows, left_out: Moments | Rows, first: float) -> Fit:
        """Weights and constant of the least error; channels without gain keep theirs.

        Args:
            fit: what to fit to, of :meth:`sums`.
            left_out: what chooses the strength of the penalty, likewise.
            first: the strength to begin with.
        """
        start = self.matrix.weight()
        silent = self._silent()
        found = solve(
            fit,
            left_out,
            start.masked_fill(silent, 0.0),
            self._constant().masked_fill(silent, 0.0),
            constant=self.has_constant,
            first=first,
        )
        weight = torch.where(silent, start, found.weight)
        constant = torch.where(silent, self._constant(), found.constant)
        return Fit(weight, constant, found.strength, found.before, found.after, found.scale)

    def write(self, found: Fit, change: Callable[[Tensor, Tensor], None]) -> None:
        """Give the layer its new weights, through ``change(tensor, value)``."""
        change(self._layer.weight, self.matrix.to_layer(found.weight))
        constant = found.constant.flatten()
        if self._layer.bias is not None:
            change(self._layer.bias, constant)
        elif self._norm is not None:
            change(self._norm.running_mean, self._norm.running_mean.double() - constant)

    def _constant(self) -> Tensor:
        bias = self._layer.bias
        if bias is None:
            return torch.zeros(self.matrix.outputs, dtype=torch.float64, device=self._layer.weight.device).view(
                self.matrix.groups, 1, -1
            )
        return bias.detach().double().view(self.matrix.groups, 1, -1)

    def _silent(self) -> Tensor:
        """(G, 1, m): output channels that batch normalization scales to nothing."""
        if self._affines is None:
            gain = torch.ones(self.matrix.outputs, device=self._layer.weight.device)
        else:
            gain = self._affines[1].gain.abs()
        return (gain <= _NO_GAIN * gain.max()).view(self.matrix.groups, 1, -1)

    def _rows(self, old: Stop, new: Stop, limit: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Input rows (G, R, n) and target rows (G, R, m)."""
        assert new.x is not None
        assert old.output is not None
        assert self._kept is not None
        chosen = self._chosen(old.output, limit, generator)
        x = self.matrix.input_rows(new.x, tuple(old.output.shape), chosen)
        target = self._output(old.output, chosen)
        kept = self._kept.to(target.device)
        if old.other is not None and new.other is not None:
            target = (target + self._output(old.other, chosen))[:, kept] - self._output(new.other, chosen)
        else:
            target = target[:, kept]
            if self._affines is not None:
                gain, shift = self._affines[0]
                target = target * gain[kept].to(target.dtype) + shift[kept].to(target.dtype)
        if self._affines is not None:
            # What the layer must give for its own normalization to give that.
            gain, shift = _invertible(self._affines[1])
            target = (target - shift.to(target.dtype)) / gain.to(target.dtype)
        target = target.masked_fill(self._silent().flatten(), 0.0)
        return x, target.unflatten(1, (self.matrix.groups, -1)).transpose(0, 1).to(x.dtype)

    def _output(self, output: Tensor, chosen: Tensor) -> Tensor:
        rows = self.matrix.output_rows(output, chosen)
        return rows if rows.dtype == torch.float64 else rows.float()

    def _chosen(self, output: Tensor, limit: float, generator: torch.Generator) -> Tensor:
        count = self.matrix.count(output)
        if limit >= count:
            return torch.arange(count, device=output.device)
        size = int(limit) + 1
        if size * 4 > count:
            return torch.randperm(count, generator=generator)[:size].to(output.device)
        return torch.randint(count, (size,), generator=generator).to(output.device)

    def _match(self, stops: Sequence[tuple[Stop, Stop]], generator: torch.Generator) -> Tensor:
        correlation = Correlation(self.name)
        for old, new in stops:
            assert new.x is not None
            assert old.output is not None
            chosen = self._chosen(old.output, 256, generator)
            rows = self.matrix.input_rows(new.x, tuple(old.output.shape), chosen).double()
            made = (rows @ self.matrix.weight()).transpose(0, 1).flatten(1)
            correlation.add(made, self._output(old.output, chosen))
        return correlation.channels()


def _invertible(affine: ChannelAffine) -> ChannelAffine:
    gain = affine.gain
    return ChannelAffine(
        torch.where(gain.abs() > _NO_GAIN * gain.abs().max(), gain, torch.ones_like(gain)), affine.shift
    )
