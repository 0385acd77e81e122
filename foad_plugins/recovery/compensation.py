"""Letting the layers that read a channel take over what it said before it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["COMPENSATIONS", "RIDGE", "fold_weights", "least_squares_coefficients", "representative_coefficients"]

COMPENSATIONS = ("least_squares", "representative")

RIDGE = 1e-3
"""Weight of the penalty in :func:`least_squares_coefficients`, relative to each channel's mean square."""

# Channels weaker than this, against the strongest, are as good as dead: they explain nothing and cost nothing.
_DEAD = 1e-12
# Weights that are taken into double precision at a time.
_CHUNK = 2**22


def representative_coefficients(
    kept: Sequence[int], removed: Sequence[int], representative: Mapping[int, int]
) -> Tensor:
    """Each removed channel stands for its representative.

    Args:
        kept: K channels that stay.
        removed: R channels that go.
        representative: a kept channel for each removed one; a channel without one leaves nothing behind.

    Returns:
        (K, R) float64: the share of each kept channel in each removed one.

    Raises:
        ValueError: a representative is not among ``kept``.
    """
    place = {channel: row for row, channel in enumerate(kept)}
    coefficients = torch.zeros(len(kept), len(removed), dtype=torch.float64)
    for column, channel in enumerate(removed):
        if channel in representative:
            if representative[channel] not in place:
                raise ValueError(
                    f"channel {representative[channel]}, the representative of channel {channel}, is not kept"
                )
            coefficients[place[representative[channel]], column] = 1
    return coefficients


def least_squares_coefficients(
    gram: Tensor, kept: Sequence[int], removed: Sequence[int], ridge: float = RIDGE
) -> Tensor:
    """The combination of kept channels that comes nearest to each removed one.

    Ridge regression on the summed products of calibration. What is regressed is what the best single kept channel
    leaves over, so that the penalty pulls towards that channel and not towards zero: a channel that has an exact copy
    among the kept is replaced by it exactly, whatever the penalty. He et al. (ICCV 2017) reconstruct a layer's output
    by least squares likewise; here the maps themselves are reconstructed, so that one solution serves every kernel
    position.

    Args:
        gram: (C, C) float64, mean products as :class:`.GramStatistics` gives them; may be singular.
        kept: K channels that stay.
        removed: R channels that go.
        ridge: weight of the penalty on each coefficient, relative to the mean square of its channel; 0 or more.

    Returns:
        (K, R) float64: the share of each kept channel in each removed one.

    Raises:
        ValueError: ``gram`` is not square or holds NaN or Inf, or ``ridge`` is negative.
    """
    if gram.dim() != 2 or gram.shape[0] != gram.shape[1] or not torch.isfinite(gram).all():
        raise ValueError(f"gram must be a finite square matrix, got shape {tuple(gram.shape)}")
    if not ridge >= 0:
        raise ValueError(f"ridge must be 0 or more, got {ridge!r}")
    coefficients = torch.zeros(len(kept), len(removed), dtype=torch.float64)
    energy = gram.diagonal()
    alive = [row for row, channel in enumerate(kept) if energy[channel] > _DEAD * energy.max()]
    if not alive or not removed:
        return coefficients
    channels = [kept[row] for row in alive]
    # Scaled to unit mean square, so that a penalty means the same for all channels.
    scale = energy[channels].rsqrt()
    between = gram[channels][:, channels] * scale[:, None] * scale
    across = gram[channels][:, list(removed)] * scale[:, None]
    nearest = across.abs().argmax(0)
    columns = torch.arange(len(removed))
    first = torch.zeros_like(across)
    first[nearest, columns] = across[nearest, columns]
    rest = across - between @ first
    solution = first + _solve(between, rest, ridge)
    coefficients[alive] = solution * scale[:, None]
    return coefficients


def fold_weights(weight: Tensor, coefficients: Tensor, kept: Sequence[int], removed: Sequence[int]) -> Tensor:
    """Weights of a reader whose kept channels take over its removed ones.

    Args:
        weight: (outputs, C, ...) of the reader.
        coefficients: (K, R) as the functions above give them.
        kept: K channels of the second dimension.
        removed: R channels of the second dimension.

    Returns:
        A new tensor like ``weight``. The removed channels are left as they were in it.
    """
    changed = weight.detach().clone()
    shares = coefficients.to(weight.device)
    for part in changed.split(max(1, _CHUNK // max(1, changed[0].numel())) if len(changed) else 1):
        wide = part.to(torch.float64)
        taken = torch.einsum("or...,kr->ok...", wide[:, list(removed)], shares)
        part[:, list(kept)] = (wide[:, list(kept)] + taken).to(weight.dtype)
    return changed


def _solve(between: Tensor, right: Tensor, ridge: float) -> Tensor:
    """Regularised solution of a correlation matrix, which rounding may have left slightly indefinite."""
    penalty = max(ridge, 1e-10)
    while True:
        shifted = between.clone()
        shifted.diagonal().add_(penalty)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if not failed:
            return torch.cholesky_solve(right, factor)
        penalty *= 10
