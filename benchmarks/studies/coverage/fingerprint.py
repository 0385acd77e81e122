"""What a measurement could leave behind on a model."""

from __future__ import annotations

import hashlib
import pickle
import random
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["fingerprint"]


def fingerprint(model: nn.Module) -> dict[str, str]:
    """Hashes of all that a calibration could leave changed: in the model, and in the generators of random numbers."""
    return {
        "parameters": _hash(model.named_parameters(remove_duplicate=False)),
        "buffers": _hash(model.named_buffers(remove_duplicate=False)),
        "gradients": _hash((name, each.grad) for name, each in model.named_parameters() if each.grad is not None),
        "flags": repr([(name, module.training) for name, module in model.named_modules()]),
        "frozen": repr([parameter.requires_grad for parameter in model.parameters()]),
        "attributes": repr([(name, sorted(module.__dict__)) for name, module in model.named_modules()]),
        "hooks": repr([_hooks(module) for module in model.modules()]),
        "random": hashlib.sha256(
            pickle.dumps((torch.get_rng_state().numpy(), np.random.get_state(), random.getstate()))
        ).hexdigest(),
    }


def _hooks(module: nn.Module) -> list[list[int]]:
    return [list(value) for name, value in sorted(module.__dict__.items()) if "_hooks" in name and value is not None]


def _hash(tensors: Any) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    for name, tensor in tensors:
        digest.update(f"{name} {id(tensor)} {tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}".encode())
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
