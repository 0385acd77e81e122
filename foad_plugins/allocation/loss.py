"""How far a changed network's outputs are from the original's, without labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..utils.outputs import output_tensors

__all__ = ["LOSSES", "OutputDifference"]

LOSSES = ("output", "kl")

# Below this share of a tensor's mean square its variance is rounding, and the mean square is the unit instead.
_CONSTANT = 1e-10


class OutputDifference:
    """The difference between a changed network's outputs and the original's, over a fixed list of batches.

    ``"output"``: for each floating-point tensor in the output, the squared difference over the tensor's variance, both
    summed over all batches; the mean over the tensors. 0 means equal outputs, and 1 means an error as large as the
    spread of the original. ``"kl"``: the Kullback-Leibler divergence in nats of the changed network's classes from the
    original's, with logits along dimension 1 (the last dimension of 2-d and 3-d tensors); the mean over all
    predictions, summed over the tensors.

    Args:
        reference: what the original returned, one entry for each batch: tensors in any structure.
        kind: ``"output"`` or ``"kl"``.

    Raises:
        TypeError: the output holds no floating-point tensor.
        ValueError: an unknown kind, no batch, outputs whose number of tensors differs between batches, or NaN in an
            output.

    Example:
        >>> import torch
        >>> from foad_plugins.allocation import OutputDifference
        >>> difference = OutputDifference([torch.tensor([[-1.0], [1.0]])])
        >>> difference([torch.tensor([[-1.0], [0.0]])])
        0.5
    """

    def __init__(self, reference: Iterable[Any], kind: str = "output") -> None:
        if kind not in LOSSES:
            raise ValueError(
                f"loss must be a function of the model or one of {', '.join(map(repr, LOSSES))}, got {kind!r}"
            )
        self.kind = kind
        self._reference = [_tensors(output) for output in reference]
        if not self._reference:
            raise ValueError("there is no batch whose outputs could be compared")
        count = len(self._reference[0])
        if any(len(tensors) != count for tensors in self._reference):
            raise ValueError(
                "the model returns another number of tensors for each batch, so its outputs cannot be compared: give "
                "a forward_fn that returns tensors of a fixed structure, or a loss of your own"
            )
        if any(tensor.isnan().any() for tensors in self._reference for tensor in tensors):
            raise ValueError(
                "the model's own output holds NaN on the calibration data: nothing can be compared with it"
            )
        self._scales = [self._scale([tensors[place] for tensors in self._reference]) for place in range(count)]

    def __call__(self, outputs: Iterable[Any]) -> float:
        """The difference of a changed network.

        Args:
            outputs: what it returned for the same batches, in the same order; consumed one batch at a time.

        Returns:
            The difference; NaN if a value is NaN, or not finite where the original's is.

        Raises:
            ValueError: tensors of other shapes than the original's, or another number of batches.
        """
        sums: list[list[Tensor]] = [[] for _ in self._scales]
        for expected, output in zip(self._reference, outputs, strict=True):
            found = _tensors(output)
            shapes = [tuple(tensor.shape) for tensor in expected], [tuple(tensor.shape) for tensor in found]
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f"the outputs change their shapes with the weights ({shapes[0]} and {shapes[1]}), so they cannot "
                    "be compared: give a forward_fn that returns tensors of fixed shapes, or a loss of your own"
                )
            for place, (first, second) in enumerate(zip(expected, found, strict=True)):
                sums[place].append(self._sum(first, second))
        # The host waits for the device once, after the last batch.
        totals = [torch.as_tensor(sum(batches), dtype=torch.float64).cpu() for batches in sums]
        shares = torch.stack(totals) / torch.tensor(self._scales, dtype=torch.float64)
        return float(shares.sum() if self.kind == "kl" else shares.mean())

    def _scale(self, tensors: Sequence[Tensor]) -> float:
        if self.kind == "kl":
            return float(sum(tensor.numel() // tensor.shape[_classes(tensor)] for tensor in tensors))
        values = [tensor[tensor.isfinite()].double() for tensor in tensors]
        count = sum(value.numel() for value in values)
        mean = sum(float(value.sum()) for value in values) / max(1, count)
        square = sum(float(value.square().sum()) for value in values)
        variance = sum(float((value - mean).square().sum()) for value in values)
        return variance if variance > _CONSTANT * square else square or 1.0

    def _sum(self, first: Tensor, second: Tensor) -> Tensor:
        if self.kind == "kl":
            axis = _classes(first)
            expected, found = first.double().log_softmax(axis), second.double().log_softmax(axis)
            terms = expected.exp() * (expected - found)
            # A class that the original excludes, with a logit of minus infinity, adds nothing.
            return terms.masked_fill(expected == -torch.inf, 0.0).sum()
        squares = (first.double() - second.double()).square()
        return squares.masked_fill(~first.isfinite(), 0.0).sum()


def _classes(tensor: Tensor) -> int:
    return 1 if tensor.dim() > 3 else -1


def _tensors(output: Any) -> list[Tensor]:
    found = [tensor.detach() for tensor in output_tensors(output) if tensor.is_floating_point() and tensor.numel()]
    if not found:
        raise TypeError(
            f"the model returns no floating-point tensor, but a {type(output).__name__}, so its outputs cannot be "
            "compared: give a forward_fn that returns tensors, or a loss of your own"
        )
    return found
