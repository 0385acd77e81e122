"""The most memory a bare forward pass and a calibration take, each in a process of its own."""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import torch
import torchvision

from .... import FOADImportance, channel_similarity
from ....calibration.preserve import preserve_state


def peak_memory(model: str, batches: int, size: int, *, calibrate: bool) -> int:
    """Bytes of resident memory at the highest, beyond what the process had once model and images were there.

    Args:
        model: a classification model of torchvision's, by name, with random weights, at 224x224.
        batches: how many batches of images run through it.
        size: images in a batch.
        calibrate: with :class:`~foad_plugins.FOADImportance`; otherwise forward passes alone.
    """
    command = [sys.executable, "-m", __spec__.name, model, str(batches), str(size)]
    command += ["--calibrate"] if calibrate else []
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure in this process and print the bytes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model")
    parser.add_argument("batches", type=int)
    parser.add_argument("size", type=int)
    parser.add_argument("--calibrate", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = getattr(torchvision.models, options.model)().eval()
    images = torch.randn(options.size, 3, 224, 224)
    # What a first call allocates once and for all belongs to neither.
    with torch.no_grad():
        model(images[:1, :, :32, :32])
    channel_similarity(images[:1, :, :4, :4])
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = _resident("VmRSS")
    data = [images] * options.batches
    if options.calibrate:
        FOADImportance(data).calibrate(model)
    else:
        with preserve_state(model), torch.no_grad():
            for batch in data:
                model(batch)
    print(_resident("VmHWM") - before)


def _resident(field: str) -> int:
    """Bytes now (``VmRSS``) or at the highest (``VmHWM``), as Linux has it; getrusage would count the parent in."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


if __name__ == "__main__":
    main()
