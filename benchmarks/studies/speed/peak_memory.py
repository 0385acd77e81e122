"""The most memory that forward passes and a calibration take, each in a process of its own."""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision

from .... import FOADImportance, channel_similarity
from ....adapters.torch_pruning.graph import build_graph, prunable_groups
from ....calibration.data import Call
from ....calibration.preserve import preserve_state


class Peak(NamedTuple):
    """What a process took.

    Attributes:
        bytes: of resident memory at the highest, beyond what the process had with the model and the images.
        passes: over the images.
    """

    bytes: int
    passes: int


def peak_memory(model: str, batches: int, size: int, *, calibrate: bool, max_memory: int | None = None) -> Peak:
    """The highest memory of forward passes or of a calibration with the scores of all groups.

    Args:
        model: a classification model of torchvision's, by name, with random weights, at 224x224.
        batches: how many batches of images run through it.
        size: images in a batch.
        calibrate: with :class:`~foad_plugins.FOADImportance`; otherwise forward passes alone.
        max_memory: of the calibration, in bytes.
    """
    command = [sys.executable, "-m", __spec__.name, model, str(batches), str(size)]
    command += ["--calibrate"] if calibrate else []
    command += [] if max_memory is None else ["--max-memory", str(max_memory)]
    return Peak(*json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    """Measure in this process and print the bytes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model")
    parser.add_argument("batches", type=int)
    parser.add_argument("size", type=int)
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--max-memory", type=int)
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
    data: list[torch.Tensor] = [images] * options.batches
    images_seen: list[int] = []
    if options.calibrate:
        with preserve_state(model):
            groups = prunable_groups(build_graph(model, Call((images[:1],), images[:1])), [])
        model.register_forward_hook(lambda module, args, output: images_seen.append(len(args[0])))
        importance = FOADImportance(data, max_memory=options.max_memory)
        for group in groups:
            importance.ranking(group)
    else:
        with preserve_state(model), torch.no_grad():
            for batch in data:
                model(batch)
    print(json.dumps([_resident("VmHWM") - before, sum(images_seen) // (options.batches * options.size)]))


def _resident(field: str) -> int:
    """Bytes now (``VmRSS``) or at the highest (``VmHWM``), as Linux has it; getrusage would count the parent in."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


if __name__ == "__main__":
    main()
