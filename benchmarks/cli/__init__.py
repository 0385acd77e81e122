"""The command ``foad-bench``."""

from .entry import main

__all__ = ["main"]
