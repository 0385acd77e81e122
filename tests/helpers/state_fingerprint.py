"""What a measurement could leave behind on a model and in the process, and faults that strike in the middle of it."""

from __future__ import annotations

import hashlib
import pickle
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as nn_module
from torch.utils._python_dispatch import TorchDispatchMode


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


def trace(model: nn.Module) -> dict[str, Any]:
    """Everything that must be the same after a measurement, in the model and in the process, to be compared."""
    modules = dict(model.named_modules(remove_duplicate=False))
    return {
        **fingerprint(model),
        "modules": {name: (id(module), type(module)) for name, module in modules.items()},
        "forward": {name: vars(module).get("forward") for name, module in modules.items()},
        "global hooks": [
            len(table)
            for name, table in vars(nn_module).items()
            if name.startswith("_global_") and isinstance(table, dict)
        ],
        "modes": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.mha.get_fastpath_enabled(),
            len(sys.meta_path),
        ),
    }


class Fault(BaseException):
    """No ``Exception``, as an interrupt from the keyboard is none."""


class StrikesAt(TorchDispatchMode):
    """Raises at one operation on tensors, counted from 0 over everything that runs inside.

    It spares what runs in the functions named, which put things back: a fault there can only be one more.
    """

    def __init__(self, point: int | None, spared: tuple[str, ...] = ("preserve_state",)) -> None:
        super().__init__()
        self.point = point
        self.seen = 0
        self._spared = spared

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not self._spare():
            self.seen += 1
            if self.seen - 1 == self.point:
                raise Fault(str(function))
        return function(*args, **(kwargs or {}))

    def _spare(self) -> bool:
        frame = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_name in self._spared:
                return True
            frame = frame.f_back
        return False


def points_of(run: Callable[[], Any]) -> int:
    """How many operations a run takes at which a fault could strike."""
    with StrikesAt(None) as mode:
        run()
    return mode.seen
