"""FOAD as an NNI 3.0 pruner; NNI itself is imported when the pruner is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batch_norm_masks import mask_batch_norms
    from .compat import repair_nni, undo_nni_repairs
    from .pruner import FOADPruner
    from .ratios import config_from_widths

__all__ = ["FOADPruner", "config_from_widths", "mask_batch_norms", "repair_nni", "undo_nni_repairs"]

_LAZY = {
    "FOADPruner": ".pruner",
    "config_from_widths": ".ratios",
    "mask_batch_norms": ".batch_norm_masks",
    "repair_nni": ".compat",
    "undo_nni_repairs": ".compat",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name], __name__), name)
    globals()[name] = value
    return value
