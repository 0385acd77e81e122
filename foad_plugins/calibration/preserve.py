"""Run a model in eval mode without a change to its state."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from .saved_values import SavedValues

__all__ = ["check_model", "force_eager", "preserve_state", "without_hooks_of"]

# The random generators and the switch of the fused path are global: two threads must not measure at once.
_MEASURING = threading.RLock()


def _unlock_child() -> None:
    global _MEASURING
    _MEASURING = threading.RLock()


# The thread that measures while another one forks does not exist in the child, and would hold the lock for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_child)


@contextmanager
def preserve_state(model: nn.Module, seed: int = 0, *, compiled: bool = False) -> Iterator[None]:
    """Put a model into eval mode inside, and restore its state on exit, also after an exception.

    Every module's train flag, every buffer, and the random number generators (torch on the CPU and the model's
    devices, NumPy, random) are restored. Inside, the generators start from ``seed``, so that layers that are random in
    eval mode, and shuffling loaders, give the same results each time. The fused inference path of
    ``nn.MultiheadAttention`` and ``nn.TransformerEncoderLayer`` is off inside, since it does not call their layers. One
    thread at a time can be inside; others wait.

    Args:
        model: the model.
        seed: of the generators inside.
        compiled: run the code that ``torch.compile`` has made of the model, instead of its layers.

    Raises:
        TypeError: not a model.
        ValueError: a lazy layer has no parameters before the first call of the model (names it); or
            the model is compiled, and torch is older than 2.6.
    """
    check_model(model)
    # One walk through the model: a calibration of few images takes little longer than several.
    modules = list(model.modules())
    _check_initialized(model, modules)
    with _MEASURING:
        flags = [(module, module.training) for module in modules]
        buffers = [
            (module, name, buffer)
            for module in modules
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        saved = SavedValues([buffer for _, _, buffer in buffers])
        devices = sorted(
            {
                parameter.device.index or 0
                for module in modules
                for parameter in module._parameters.values()
                if parameter is not None and parameter.is_cuda
            }
        )
        python_state, numpy_state = random.getstate(), np.random.get_state()
        fast_path = torch.backends.mha.get_fastpath_enabled()
        try:
            with torch.random.fork_rng(devices=devices), nullcontext() if compiled else force_eager(model):
                torch.manual_seed(seed)
                random.seed(seed)
                np.random.seed(seed)
                torch.backends.mha.set_fastpath_enabled(False)
                model.eval()
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            for module, training in flags:
                module.training = training
            # Batch normalization changes its statistics without the version counter, so only the values tell.
            saved.restore()
            for module, name, buffer in buffers:
                module._buffers[name] = buffer


@contextmanager
def without_hooks_of(package: str, model: nn.Module) -> Iterator[None]:
    """Remove the forward hooks that a library has left in a model after an exception inside.

    Hooks that the model registers itself, as some do at their first call, are kept: the model may remember that they
    are there.

    Args:
        package: the library's top-level package; its hooks are recognized by the module that defines them.
        model: the model.
    """
    try:
        yield
    finally:
        for module in model.modules():
            for kind in ("_forward_hooks", "_forward_pre_hooks"):
                for key in [key for key, hook in getattr(module, kind).items() if _defined_in(hook, package)]:
                    # The options of the hook are in tables of their own.
                    for table in (kind, f"{kind}_with_kwargs", f"{kind}_always_called"):
                        getattr(module, table, {}).pop(key, None)


def _defined_in(hook: object, package: str) -> bool:
    module = getattr(hook, "__module__", None) or type(hook).__module__
    return module.partition(".")[0] == package


def check_model(model: object) -> None:
    """Refuse an object that is not a model.

    Raises:
        TypeError: not a ``torch.nn.Module``.
    """
    if not isinstance(model, nn.Module):
        given = f"the class {model.__name__}: make one" if isinstance(model, type) else type(model).__name__
        raise TypeError(f"model must be a torch.nn.Module, got {given}")


def _check_initialized(model: nn.Module, modules: Sequence[nn.Module]) -> None:
    for module in modules:
        for tensors in (module._parameters, module._buffers):
            if any(isinstance(tensor, (UninitializedParameter, UninitializedBuffer)) for tensor in tensors.values()):
                name = next(name for name, other in model.named_modules() if other is module)
                raise ValueError(
                    f"layer {name!r} has no parameters yet, which lazy layers create in their first call: call the "
                    "model once on a batch, or load its weights"
                )


@contextmanager
def force_eager(model: nn.Module) -> Iterator[None]:
    """Run a model inside without the code that ``torch.compile`` has made of it or of a part of it.

    Compiled code depends on the hooks of the model: with other hooks torch compiles again, which takes longer than the
    calibration, and gives up with a warning after a few times.

    Raises:
        ValueError: the model is compiled, and torch is older than 2.6, which cannot run it without that code.
    """
    if not any("_orig_mod" in module._modules or _compiled_in_place(module) for module in model.modules()):
        yield
        return
    if not hasattr(torch.compiler, "set_stance"):
        raise ValueError(
            f"the model is compiled, and torch {torch.__version__} cannot run it layer by layer, which torch 2.6 can: "
            "give the module that it was compiled from"
        )
    with torch.compiler.set_stance("force_eager"):
        yield


def _compiled_in_place(module: nn.Module) -> bool:
    return getattr(module, "_compiled_call_impl", None) is not None
