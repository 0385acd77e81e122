"""Where networks are trained and with what precision, by Lightning Fabric."""

from __future__ import annotations

import os
import sys
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from pydantic import BaseModel, ConfigDict, Field

from ..errors import BenchmarkError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class HardwareError(BenchmarkError, ValueError):
    """A device does not exist, or lacks the precision."""


class Hardware(BaseModel):
    """Devices and precision.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``.
        devices: how many train one network together, each a share of every batch.
        precision: in Lightning Fabric's words.
        cuda_graphs: whether a training step is captured once and replayed, see
            :mod:`~foad_plugins.benchmarks.training.cuda_graphs`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Literal["cpu", "cuda"] = "cpu"
    devices: int = Field(default=1, ge=1)
    precision: Precision = "32-true"
    cuda_graphs: bool = False

    def check(self) -> None:
        """Check that the devices exist and have the precision.

        Raises:
            HardwareError: if they are not, or have not.
        """
        if self.device == "cpu" and self.precision == "16-mixed":
            # Fabric would use bfloat16 instead, and records would be wrong.
            raise HardwareError("precision: 16-mixed needs a GPU; a CPU has bf16-mixed")
        if self.cuda_graphs and (self.device == "cpu" or self.devices > 1):
            raise HardwareError("cuda_graphs: they are of a single GPU")
        if self.device == "cuda" and torch.cuda.device_count() < self.devices:
            raise HardwareError(f"device: {self.devices} GPUs are needed, torch sees {torch.cuda.device_count()}")

    def fabric(self) -> Fabric:
        """A Fabric on these devices; with several, ``launch`` starts a process for each."""
        strategy: Any = "ddp_spawn" if self.devices > 1 else "auto"
        if self.devices > 1 and sys.platform == "linux":
            # All processes are on this machine, and others must not reach them.
            for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
                os.environ.setdefault(name, "lo")
        return Fabric(
            accelerator=self.device,
            devices=self.devices,
            strategy=strategy,
            precision=self.precision,
            # A cluster scheduler's variables describe the sweep and not one training.
            plugins=[LightningEnvironment()],
        )
