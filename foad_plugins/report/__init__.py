"""What a pruning call did: data, text, figures and page."""

from .data import ChannelPair, GroupReport, LatencyTrial, LayerWidth
from .prune_report import PruneReport

__all__ = ["ChannelPair", "GroupReport", "LatencyTrial", "LayerWidth", "PruneReport"]
