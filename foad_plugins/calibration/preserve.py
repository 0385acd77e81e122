"""Running a model for measurement only: eval mode inside, everything as it was outside."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from .saved_values import SavedValues

__all__ = ["check_model", "force_eager", "preserve_state", "without_hooks_of"]

# The generators and the switch of the fused path belong to the process: of two threads, one measures after the other.
_MEASURING = threading.RLock()


@contextmanager
def preserve_state(model: nn.Module, seed: int = 0, *, compiled: bool = False) -> Iterator[None]:
    """Put a model into eval mode, and leave no trace of what runs inside, also after an exception.

    On exit every module's train flag and every buffer is what it was, and so is the state of the
    random number generators (torch on the CPU and the model's devices, NumPy, random). Inside, the generators start
    from ``seed``, so that random layers which stay active in eval mode, and shuffling loaders, give the same each time.
    The fused inference path of ``nn.MultiheadAttention`` and ``nn.TransformerEncoderLayer`` is off inside, since it
    goes round the layers in it. One thread at a time can be inside; others wait.

    Args:
        model: the model.
        seed: where the generators start.
        compiled: let what ``torch.compile`` has made of the model run, rather than its layers.

    Raises:
        TypeError: not a model.
        ValueError: a layer has not set up its parameters yet, which the first call of the model does (names it); or
            the model is compiled, and torch is older than 2.6.
    """
    check_model(model)
    _check_initialized(model)
    with _MEASURING:
        flags = [(module, module.training) for module in model.modules()]
        buffers = [
            (module, name, buffer)
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        saved = SavedValues([buffer for _, _, buffer in buffers])
        devices = sorted({tensor.device.index or 0 for tensor in model.parameters() if tensor.is_cuda})
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
        package: the library's top-level package; its hooks are told by the module that defines them.
        model: the model.
    """
    try:
        yield
    finally:
        for module in model.modules():
            for kind in ("_forward_hooks", "_forward_pre_hooks"):
                for key in [key for key, hook in getattr(module, kind).items() if _defined_in(hook, package)]:
                    # As the handle would remove it: from the options beside the hooks, too.
                    for table in (kind, f"{kind}_with_kwargs", f"{kind}_always_called"):
                        getattr(module, table, {}).pop(key, None)


def _defined_in(hook: object, package: str) -> bool:
    module = getattr(hook, "__module__", None) or type(hook).__module__
    return module.partition(".")[0] == package


def check_model(model: object) -> None:
    """Refuse what is no model.

    Raises:
        TypeError: not a ``torch.nn.Module``.
    """
    if not isinstance(model, nn.Module):
        given = f"the class {model.__name__}: make one" if isinstance(model, type) else type(model).__name__
        raise TypeError(f"model must be a torch.nn.Module, got {given}")


def _check_initialized(model: nn.Module) -> None:
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            if any(isinstance(tensor, (UninitializedParameter, UninitializedBuffer)) for tensor in tensors.values()):
                name = next(name for name, other in model.named_modules() if other is module)
                raise ValueError(
                    f"layer {name!r} has no parameters yet, which lazy layers create in their first call: call the "
                    "model once on a batch, or load its weights"
                )


@contextmanager
def force_eager(model: nn.Module) -> Iterator[None]:
    """Leave aside what ``torch.compile`` has made of a model or a part of it.

    Compiled code is made for the hooks that are there: with others it is made again, which takes longer than what is
    measured, and after a few times torch gives up with a warning.

    Raises:
        ValueError: there is such code, and torch is older than 2.6, which cannot be told to leave it aside.
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
