"""What the layers that consume a group's channels would get if some of them were removed and compensated for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...criterion.gram import GramStatistics
from ...recovery.compensation import RIDGE, least_squares_coefficients, representative_coefficients
from ...utils.layers import channel_axis
from .consumers import Consumer, consumer_units
from .groups import CoupledGroup

__all__ = ["ConsumerGrams", "GroupReplacement", "InputReplacement", "replaced_inputs"]


@dataclass(frozen=True, eq=False)
class ConsumerGrams:
    """The consumers of some groups, with the products of their inputs on two sets of images.

    Attributes:
        consumers: the layers.
        fitted: products on the images that reconstructions are fitted on.
        held_out: products on other images.
    """

    consumers: Sequence[Consumer]
    fitted: Sequence[GramStatistics]
    held_out: Sequence[GramStatistics]


@dataclass(frozen=True, eq=False)
class InputReplacement:
    """Input channels (features) of a layer that are replaced by a linear combination of others.

    Attributes:
        layer: the consumer.
        removed: (R, L) indices of the input channels that are replaced, L for each unit.
        kept: (K, L) indices of those that they are replaced by.
        coefficients: (K, R) the share of each kept unit in each removed one.
    """

    layer: nn.Module
    removed: Tensor
    kept: Tensor
    coefficients: Tensor

    def apply(self, tensor: Tensor) -> Tensor:
        """A copy of the layer's input with the channels replaced.

        Raises:
            IndexError: the layer gets fewer channels than the graph leads one to expect.
        """
        axis = channel_axis(self.layer) % tensor.dim()
        # On a GPU an index out of range would end the process.
        if any(len(index) and int(index.max()) >= tensor.shape[axis] for index in (self.removed, self.kept)):
            raise IndexError(f"an input of {tensor.shape[axis]} channels has fewer than the graph of the model tells")
        changed = tensor.clone()
        view, maps = changed.movedim(axis, 1), tensor.movedim(axis, 1)
        removed, kept = self.removed.to(tensor.device), self.kept.to(tensor.device)
        if len(self.kept):
            shares = self.coefficients.to(tensor.device, tensor.dtype)
            view[:, removed] = torch.einsum("nkl...,kr->nrl...", maps[:, kept], shares)
        else:
            view[:, removed] = 0
        return changed


class GroupReplacement:
    """The inputs of a group's consumers after some of its channels were removed and compensated for.

    Where a layer consumes some of the channels only, or did not run on the data, removed channels are zeroed there.

    Args:
        group: the group.
        grams: its consumers and their products.
        method: ``"least_squares"``, ``"representative"`` (the nearest kept channel), or None for zeros.
    """

    def __init__(self, group: CoupledGroup, grams: ConsumerGrams, method: str | None) -> None:
        self._group = group
        self._method = method
        rows: dict[int, list[list[int]]] = {}
        for number, units in consumer_units(grams.consumers, group):
            if grams.fitted[number].samples:
                rows.setdefault(number, []).append(units)
        self._inputs = [
            _ConsumerInput(
                grams.consumers[number],
                units,
                grams.fitted[number].compute(),
                grams.held_out[number].compute() if grams.held_out[number].samples else None,
                grams.consumers[number].weight_products(),
            )
            for number, units in rows.items()
        ]

    def at(self, channels: Sequence[int]) -> tuple[list[InputReplacement], float | None]:
        """The inputs without some channels.

        Args:
            channels: of the group's root.

        Returns:
            The replacements, and the error at the consumers on the held-out images: the mean over the consumers of the
            squared error of their output, as a share of their output's mean square, with kernel positions taken as
            independent. None where no consumer ran.
        """
        found: list[InputReplacement] = []
        errors: list[float] = []
        zeroed = {layer: set(columns) for layer, columns in self._group.consumed(channels).items()}
        for consumed in self._inputs:
            parts, error = consumed.without(channels, self._method)
            found += parts
            errors += [] if error is None else [error]
            for replacement in parts:
                zeroed.get(replacement.layer, set()).difference_update(replacement.removed.flatten().tolist())
        for layer, columns in zeroed.items():
            if columns:
                index = torch.tensor(sorted(columns))[:, None]
                found.append(InputReplacement(layer, index, index[:0], torch.zeros(0, len(index))))
        return found, sum(errors) / len(errors) if errors else None


@contextmanager
def replaced_inputs(found: Sequence[InputReplacement]) -> Iterator[None]:
    """Let the layers see the replaced inputs inside."""
    with ExitStack() as stack:
        for replacement in found:
            hook = _hook(replacement)
            stack.callback(replacement.layer.register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield


@dataclass(frozen=True, eq=False)
class _ConsumerInput:
    """A consumer of a group: the units of each root channel at each place, and the products of all units."""

    consumer: Consumer
    rows: Sequence[Sequence[int]]
    fitted: Tensor
    held_out: Tensor | None
    weights: Tensor

    def without(self, channels: Sequence[int], method: str | None) -> tuple[list[InputReplacement], float | None]:
        removed = {rows[channel] for rows in self.rows for channel in channels}
        found: list[InputReplacement] = []
        error = 0.0
        for units in self.consumer.blocks:
            kept = [unit - units.start for unit in units if unit not in removed]
            lost = [unit - units.start for unit in units if unit in removed]
            if not lost:
                continue
            inside = slice(units.start, units.stop)
            coefficients = _coefficients(self.fitted[inside, inside], kept, lost, method)
            columns = self.consumer.channel_index[inside]
            found.append(InputReplacement(self.consumer.layer, columns[lost], columns[kept], coefficients))
            if self.held_out is not None:
                gram, weights = self.held_out[inside, inside], self.weights[inside, inside]
                error += _error(gram, weights, kept, lost, coefficients)
        if self.held_out is None:
            return found, None
        total = float((self.held_out * self.weights).sum())
        return found, max(0.0, error) / total if total > 0 else 0.0


def _coefficients(gram: Tensor, kept: Sequence[int], lost: Sequence[int], method: str | None) -> Tensor:
    if method is None or not kept:
        return torch.zeros(len(kept), len(lost), dtype=torch.float64)
    if method == "least_squares":
        return least_squares_coefficients(gram, kept, lost, RIDGE)
    rows = torch.tensor(kept)
    nearest = (gram.diagonal()[rows, None] - 2 * gram[rows][:, lost]).argmin(0)
    return representative_coefficients(
        kept,
        lost,
        {channel: kept[int(row)] for channel, row in zip(lost, nearest, strict=True) if gram[channel, channel] > 0},
    )


def _error(gram: Tensor, products: Tensor, kept: Sequence[int], lost: Sequence[int], coefficients: Tensor) -> float:
    """Mean square of what the consumer makes of the residuals."""
    across = gram[lost][:, kept] @ coefficients
    residual = gram[lost][:, lost] - across - across.T + coefficients.T @ gram[kept][:, kept] @ coefficients
    return float((residual * products[lost][:, lost]).sum())


def _hook(replacement: InputReplacement) -> Callable[..., Any]:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (replacement.apply(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "input": replacement.apply(kwargs["input"])}

    return hook
