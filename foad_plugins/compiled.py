"""Running compiled models layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["layer_by_layer"]


@contextmanager
def layer_by_layer(model: nn.Module) -> Iterator[None]:
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
