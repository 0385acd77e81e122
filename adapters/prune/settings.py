"""What a call of ``prune`` was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch_pruning as tp
from torch import nn

from ..torch_pruning.calibration import CalibrationData
from ..torch_pruning.importance import FOADImportance
from .planner import Planner


@dataclass(frozen=True, eq=False)
class Settings:
    """What is the same in every step.

    Attributes:
        data: calibration data that can be read more than once.
        options: how to run it.
        importance: measures similarity and products; ranks too, unless ``ranker`` does.
        ranker: another importance of Torch-Pruning to rank by; None for ``importance``.
        planner: turns ranked groups and a goal into counts.
        ignored: layers whose output channels stay.
        compensate: how readers take over, None for not at all.
        reestimate_bn: whether to move the statistics of batch normalization.
        verify: whether to prove the removal.
    """

    data: Any
    options: CalibrationData
    importance: FOADImportance
    ranker: tp.importance.Importance | None
    planner: Planner
    ignored: Sequence[nn.Module]
    compensate: str | None
    reestimate_bn: bool
    verify: bool
