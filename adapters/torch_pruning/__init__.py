"""FOAD in Torch-Pruning: dependency graph, hook points, scores."""

from .compensator import Compensator
from .importance import FOADImportance

__all__ = ["Compensator", "FOADImportance"]
