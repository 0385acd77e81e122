from __future__ import annotations

import os
import sys

import pytest
import torch

from foad_plugins.benchmarks.training.hardware import Hardware, HardwareError


def test_gpus_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    Hardware(device="cuda", precision="16-mixed").check()
    with pytest.raises(HardwareError, match="device: 2 GPUs are needed, torch sees 1"):
        Hardware(device="cuda", devices=2).check()


def test_half_precision_needs_a_gpu() -> None:
    Hardware(precision="bf16-mixed").check()
    with pytest.raises(HardwareError, match="precision: 16-mixed needs a GPU"):
        Hardware(precision="16-mixed").check()


def test_fabric_ignores_the_schedulers_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "sweep", "SLURM_PROCID": "3"}.items():
        monkeypatch.setenv(name, value)
    fabric = Hardware(precision="bf16-mixed").fabric()
    assert (fabric.world_size, fabric.global_rank, fabric.device) == (1, 0, torch.device("cpu"))
    assert Hardware(devices=2).fabric().world_size == 2


@pytest.mark.skipif(sys.platform != "linux", reason="the name of the loopback is Linux's")
def test_several_devices_talk_over_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    for name in names:
        # Set first, so that it is removed again after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    Hardware().fabric()
    assert not any(name in os.environ for name in names)
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "eth7")
    Hardware(devices=2).fabric()
    assert [os.environ[name] for name in names] == ["lo", "eth7"]
