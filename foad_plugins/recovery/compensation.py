"""Weights of the consumers of removed channels, changed so that the kept channels compensate for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["COMPENSATIONS", "RIDGE", "fold_weights", "least_squares_coefficients", "representative_coefficients"]

COMPENSATIONS = ("least_squares", "representative")

RIDGE = 1e-3
"""Weight of the penalty in :func:`least_squares_coefficients`, relative to each channel's mean square."""

# Channels with a mean square below this share of the largest are treated as zero.
_DEAD = 1e-12
# Number of weights that are converted to double precision at a time.
_CHUNK = 2**22


def representative_coefficients(
    kept: Sequence[int], removed: Sequence[int], representative: Mapping[int, int]
) -> Tensor:
    """Each removed channel is replaced by its representative.

    Args:
        kept: K kept channels.
        removed: R removed channels.
        representative: a kept channel for each removed one; a channel without one is not compensated for.

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
    """The linear combination of kept channels that is closest to each removed one.

    Ridge regression on the Gram matrix of the calibration data. The regression target is the residual of the best
    single kept channel, so that the penalty shrinks towards that channel and not towards zero: a removed channel with
    an exact copy among the kept ones is replaced by it exactly, for any penalty. He et al. (ICCV 2017) reconstruct the
    output of a layer by least squares; here the feature maps are reconstructed, so that one solution holds for all
    kernel positions.

    Args:
        gram: (C, C) float64, mean products as :class:`.GramStatistics` gives them; may be singular.
        kept: K kept channels.
        removed: R removed channels.
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
    mean_square = gram.diagonal()
    nonzero = [row for row, channel in enumerate(kept) if mean_square[channel] > _DEAD * mean_square.max()]
    if not nonzero or not removed:
        return coefficients
    channels = [kept[row] for row in nonzero]
    # At unit mean square the penalty is equally strong for all channels.
    scale = mean_square[channels].rsqrt()
    between = gram[channels][:, channels] * scale[:, None] * scale
    across = gram[channels][:, list(removed)] * scale[:, None]
    nearest = across.abs().argmax(0)
    columns = torch.arange(len(removed))
    first = torch.zeros_like(across)
    first[nearest, columns] = across[nearest, columns]
    rest = across - between @ first
    solution = first + _solve(between, rest, ridge)
    coefficients[nonzero] = solution * scale[:, None]
    return coefficients


def fold_weights(weight: Tensor, coefficients: Tensor, kept: Sequence[int], removed: Sequence[int]) -> Tensor:
    """Weights of a consumer whose kept inputs compensate for its removed ones.

    Args:
        weight: (outputs, C, ...) of the consumer.
        coefficients: (K, R) as the functions above give them.
        kept: K channels of the second dimension.
        removed: R channels of the second dimension.

    Returns:
        A new tensor like ``weight``, unchanged at the removed channels.
    """
    changed = weight.detach().clone()
    shares = coefficients.to(weight.device)
    for part in changed.split(max(1, _CHUNK // max(1, changed[0].numel())) if len(changed) else 1):
        wide = part.to(torch.float64)
        taken = torch.einsum("or...,kr->ok...", wide[:, list(removed)], shares)
        part[:, list(kept)] = (wide[:, list(kept)] + taken).to(weight.dtype)
    return changed


def _solve(between: Tensor, right: Tensor, ridge: float) -> Tensor:
    """Ridge solution for a correlation matrix, which rounding may have made slightly indefinite."""
    penalty = max(ridge, 1e-10)
    while True:
        shifted = between.clone()
        shifted.diagonal().add_(penalty)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if not failed:
            return torch.cholesky_solve(right, factor)
        penalty *= 10
