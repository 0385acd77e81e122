"""FOAD filter pruning for the frameworks people already use.

The method (Shi et al. 2024, doi 10.7544/issn1000-1239.202330085) finds redundant channels by the geometry of their
feature maps and needs no gradients, no labels and no change to training. The names here are the public interface;
those of the adapters are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .flops import FlopsTable, LayerFlops, count_flops, count_params, flops_table
from .messages import FOADWarning, NoEffectWarning, UnreadGroupWarning
from .ordering import ChannelOrder, elimination_order
from .report import GroupReport, LayerWidth, PruneReport
from .selection import Selection, greedy_select
from .similarity import ChannelStatistics, channel_similarity

if TYPE_CHECKING:
    from .adapters.nni import FOADPruner
    from .adapters.prune import prune
    from .adapters.torch_pruning import FOADImportance

__all__ = [
    "ChannelOrder",
    "ChannelStatistics",
    "FOADImportance",
    "FOADPruner",
    "FOADWarning",
    "FlopsTable",
    "GroupReport",
    "LayerFlops",
    "LayerWidth",
    "NoEffectWarning",
    "PruneReport",
    "Selection",
    "UnreadGroupWarning",
    "channel_similarity",
    "count_flops",
    "count_params",
    "elimination_order",
    "flops_table",
    "greedy_select",
    "prune",
]

_LAZY = {
    "FOADImportance": ".adapters.torch_pruning",
    "FOADPruner": ".adapters.nni",
    "prune": ".adapters.prune",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
