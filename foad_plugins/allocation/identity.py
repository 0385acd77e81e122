"""Whether saved curves belong to a model."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

__all__ = ["model_digest"]


def model_digest(model: nn.Module) -> str:
    """SHA-256 over the names, shapes, types and values of all parameters and buffers, wherever they are."""
    digest = hashlib.sha256()
    for name, value in sorted([*model.named_parameters(), *model.named_buffers()]):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
