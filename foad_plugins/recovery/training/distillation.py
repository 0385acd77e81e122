"""Losses between the outputs of two networks; no label is needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["LOSSES", "OutputLoss", "cosine_distance", "output_loss", "relative_squared_error", "softened_kl"]

OutputLoss = Callable[[Tensor, Tensor], Tensor]
"""Called as ``loss(output, target)`` with float tensors of one shape; gives a tensor of shape ()."""

LOSSES: Final = ("auto", "mse", "kl", "cosine")


def relative_squared_error(output: Tensor, target: Tensor, *, centered: bool = False) -> Tensor:
    """Squared error, divided by the mean square of the target or by its variance.

    Args:
        output: any shape.
        target: the same shape.
        centered: divide by the variance over all elements of ``target``; else by their mean square.

    Returns:
        Shape (). A constant target counts as one with a mean square of 1e-12.
    """
    # Norms, not means of squares: their gradient keeps the channels-last layout, and the backward pass is faster.
    distance = torch.linalg.vector_norm(output - target)
    size = torch.linalg.vector_norm(target - target.mean() if centered else target)
    return distance.square() / size.square().clamp(min=1e-12 * target.numel())


def cosine_distance(output: Tensor, target: Tensor) -> Tensor:
    """Mean of ``1 - cos(output, target)`` along dimension 1, such as of embeddings (N, D); in [0, 2]."""
    return (1 - F.cosine_similarity(output, target)).mean()


def softened_kl(output: Tensor, target: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Kullback-Leibler divergence of softened class probabilities (Hinton et al. 2015, arXiv:1503.02531).

    Args:
        output: logits (N, classes, ...).
        target: logits of the same shape, whose probabilities are the true ones.
        temperature: both logits are divided by it, above 0.

    Returns:
        Mean over images and positions, times ``temperature`` squared, so that the size of the gradient does not depend
        on it.
    """
    log_probabilities = F.log_softmax(output / temperature, dim=1)
    target_log_probabilities = F.log_softmax(target / temperature, dim=1)
    divergence = F.kl_div(log_probabilities, target_log_probabilities, reduction="none", log_target=True).sum(1)
    return divergence.mean() * temperature**2


def output_loss(loss: str | OutputLoss, temperature: float = 2.0) -> OutputLoss:
    """The loss function of a name in ``LOSSES``; a function is returned unchanged.

    ``"auto"`` and ``"mse"`` are the squared error over the target's variance, which fits outputs of any kind.

    Raises:
        ValueError: another name.
        TypeError: neither a name nor a function.
    """
    if callable(loss):
        return loss
    if not isinstance(loss, str):
        raise TypeError(f"loss must be a name or a function of (output, target), got {type(loss).__name__}")
    if loss in ("auto", "mse"):
        return partial(relative_squared_error, centered=True)
    if loss == "kl":
        return partial(softened_kl, temperature=temperature)
    if loss == "cosine":
        return cosine_distance
    raise ValueError(f"loss must be one of {', '.join(map(repr, LOSSES))} or a function, got {loss!r}")
