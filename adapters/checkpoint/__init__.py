"""Save and load a pruned model without pickle."""

from .api import load_pruned, save_pruned
from .file import CheckpointError

__all__ = ["CheckpointError", "load_pruned", "save_pruned"]
