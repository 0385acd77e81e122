"""Training shared between the ranks of torch.distributed, each on its own images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["average_gradients", "average_tensors", "broadcast_tensors", "largest", "rank_and_size"]


def rank_and_size(distributed: bool | None) -> tuple[int, int]:
    """This process's rank and the number of ranks; (0, 1) where work is not shared.

    Args:
        distributed: None shares the work where a process group is initialized.

    Raises:
        RuntimeError: True without a process group.
    """
    ready = dist.is_available() and dist.is_initialized()
    if distributed and not ready:
        raise RuntimeError(
            "distributed=True needs torch.distributed: start with torchrun and call init_process_group() first"
        )
    return (dist.get_rank(), dist.get_world_size()) if ready and distributed is not False else (0, 1)


def average_gradients(parameters: Sequence[nn.Parameter], loss: Tensor | None, device: torch.device) -> Tensor:
    """Make the gradients on every rank the mean over the ranks, in one call.

    Args:
        parameters: the same on all ranks; a missing gradient counts as zeros.
        loss: of this rank, shape (); None if this rank failed.
        device: where the sums are made.

    Returns:
        The mean loss over the ranks, shape ().

    Raises:
        RuntimeError: another rank failed.
    """
    gradients = [
        torch.zeros_like(parameter) if parameter.grad is None or loss is None else parameter.grad
        for parameter in parameters
    ]
    state = torch.tensor([0.0, 1.0], device=device) if loss is None else torch.stack([loss.float(), loss.new_zeros(())])
    flat = torch.cat([gradient.detach().reshape(-1).float() for gradient in gradients] + [state])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    if flat[-1] > 0 and loss is not None:
        raise RuntimeError("recovery failed on another rank of torch.distributed, whose error is shown there")
    start = 0
    for parameter, gradient in zip(parameters, gradients, strict=True):
        part = flat[start : start + gradient.numel()].view(gradient.shape)
        parameter.grad = gradient.copy_(part)
        start += gradient.numel()
    return flat[-2]


def average_tensors(tensors: Sequence[Tensor]) -> None:
    """Make floating-point tensors the mean over the ranks."""
    for tensor in tensors:
        if tensor.is_floating_point():
            dist.all_reduce(tensor)
            tensor /= dist.get_world_size()


def broadcast_tensors(tensors: Sequence[Tensor]) -> None:
    """Give every rank the values of rank 0."""
    for tensor in tensors:
        dist.broadcast(tensor.detach(), 0)


def largest(number: int) -> int:
    """The largest of the ranks' numbers."""
    numbers: list[int] = [0] * dist.get_world_size()
    dist.all_gather_object(numbers, number)
    return max(numbers)
