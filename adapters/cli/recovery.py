"""``--recover``: training on all images after pruning."""

from __future__ import annotations

import argparse
import copy
import os
import sys
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.data import DataLoader

from ...recovery.recover import recover
from ...recovery.training.report import RecoveryReport
from .errors import UsageError
from .images import calibration_loader
from .preprocessing import Preprocessing

__all__ = ["Recovery", "plan_recovery"]

Recovery = Callable[[nn.Module], RecoveryReport]


def plan_recovery(
    arguments: argparse.Namespace, model: nn.Module, preprocessing: Preprocessing, log: Callable[[str], None]
) -> Recovery | None:
    """What ``--recover`` asks for, to be called with the pruned model; None without it.

    Args:
        arguments: of ``foad prune``.
        model: before pruning, on its device; it is copied.
        preprocessing: of the images.
        log: called with one line that describes the images.

    Raises:
        UsageError: ``--dry-run`` as well.
    """
    if arguments.recover is None:
        return None
    if arguments.dry_run:
        raise UsageError("--recover trains the pruned model, and --dry-run makes none: drop one of them")
    loader, images = calibration_loader(arguments.data, sys.maxsize, 1, preprocessing, arguments.array)
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    # On a GPU the network does not have to wait for one process that decodes images.
    workers = min(8, os.cpu_count() or 1) if device.type == "cuda" else 0
    data = DataLoader(loader.dataset, batch_sampler=loader.batch_sampler, num_workers=workers)
    original = copy.deepcopy(model).eval()
    log(f"images for recovery: {images}")

    def run(pruned: nn.Module) -> RecoveryReport:
        return recover(pruned, original, data, epochs=arguments.recover, progress=not arguments.quiet)

    return run
