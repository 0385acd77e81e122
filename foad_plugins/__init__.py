"""FOAD filter pruning for the frameworks people already use.

The method (Shi et al. 2024, doi 10.7544/issn1000-1239.202330085) finds redundant channels by the geometry of their
feature maps and needs no gradients, no labels and no change to training. The names here are the public interface;
those of the adapters are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .allocation import Allocation, Sensitivity
from .cost.flops import FlopsTable, LayerFlops, count_flops, count_params, flops_table
from .criterion.ordering import ChannelOrder, elimination_order
from .criterion.reconstruction import ReconstructionTerm
from .criterion.selection import Selection, greedy_select
from .criterion.similarity import ChannelStatistics, channel_similarity
from .recovery.refit import refit
from .recovery.refitting.layer_fit import LayerFit
from .recovery.refitting.report import RefitReport
from .report.data import ChannelPair, GroupReport, LatencyTrial, LayerWidth
from .report.prune_report import PruneReport
from .utils.warnings import (
    AmbiguousDataWarning,
    FOADWarning,
    InsufficientDataWarning,
    NoEffectWarning,
    OutputWidthWarning,
    UnscoredGroupWarning,
)

if TYPE_CHECKING:
    from .adapters.checkpoint import CheckpointError, load_pruned, save_pruned
    from .adapters.checkpoint.hub import PrunedModel
    from .adapters.lightning import PruneCallback
    from .adapters.nni.pruner import FOADPruner
    from .adapters.prune.api import TargetError, prune
    from .adapters.prune.sensitivities import sensitivity, sensitivity_ratios
    from .adapters.torch_pruning.compensator import Compensator
    from .adapters.torch_pruning.importance import FOADImportance
    from .export.exporter import ExportError, ExportReport, check_compiled, export_model
    from .recovery.recover import RecoveryDivergedError, recover
    from .recovery.training.report import RecoveryReport

__all__ = [
    "Allocation",
    "AmbiguousDataWarning",
    "ChannelOrder",
    "ChannelPair",
    "ChannelStatistics",
    "CheckpointError",
    "Compensator",
    "ExportError",
    "ExportReport",
    "FOADImportance",
    "FOADPruner",
    "FOADWarning",
    "FlopsTable",
    "GroupReport",
    "InsufficientDataWarning",
    "LatencyTrial",
    "LayerFit",
    "LayerFlops",
    "LayerWidth",
    "NoEffectWarning",
    "OutputWidthWarning",
    "PruneCallback",
    "PruneReport",
    "PrunedModel",
    "ReconstructionTerm",
    "RecoveryDivergedError",
    "RecoveryReport",
    "RefitReport",
    "Selection",
    "Sensitivity",
    "TargetError",
    "UnscoredGroupWarning",
    "channel_similarity",
    "check_compiled",
    "count_flops",
    "count_params",
    "elimination_order",
    "export_model",
    "flops_table",
    "greedy_select",
    "load_pruned",
    "prune",
    "recover",
    "refit",
    "save_pruned",
    "sensitivity",
    "sensitivity_ratios",
]

_LAZY = {
    "CheckpointError": ".adapters.checkpoint",
    "Compensator": ".adapters.torch_pruning",
    "ExportError": ".export",
    "ExportReport": ".export",
    "FOADImportance": ".adapters.torch_pruning",
    "FOADPruner": ".adapters.nni",
    "PruneCallback": ".adapters.lightning",
    "PrunedModel": ".adapters.checkpoint.hub",
    "RecoveryDivergedError": ".recovery.recover",
    "RecoveryReport": ".recovery.training.report",
    "TargetError": ".adapters.prune",
    "check_compiled": ".export",
    "export_model": ".export",
    "load_pruned": ".adapters.checkpoint",
    "prune": ".adapters.prune",
    "recover": ".recovery.recover",
    "save_pruned": ".adapters.checkpoint",
    "sensitivity": ".adapters.prune",
    "sensitivity_ratios": ".adapters.prune",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("foad-plugins")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
