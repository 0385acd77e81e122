"""FOAD pruning within a training of PyTorch Lightning."""

from .callback import PruneCallback

__all__ = ["PruneCallback"]
