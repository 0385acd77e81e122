"""``foad info``."""

from __future__ import annotations

import argparse

__all__ = ["run_info"]


def run_info(arguments: argparse.Namespace) -> int:
    """Print what the file of a pruned model holds."""
    from ..checkpoint.info import checkpoint_info

    print(checkpoint_info(arguments.file))
    return 0
