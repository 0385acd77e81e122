"""The kernel for GPUs, run by Triton's interpreter: on a CPU, word for word."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_COMPARE = """
import torch
from foad_plugins import channel_similarity, greedy_select, panels
from foad_plugins.fused import FusedSums
from foad_plugins.triton_sums import add_products

torch.set_num_threads(1)
for shape in [(5, 20, 5, 5), (3, 270, 2, 2), (3, 40)]:
    maps = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).relu() * 10
    maps[:, 10] = maps[:, 3]
    maps[:, [5, 7]] = 0
    maps[1, 12] = maps[1, 4] + 1e-4
    maps[2, 16] = maps[2, 15] * 1.02
    expected = channel_similarity(maps)
    panels.fused_sums, known = (lambda maps: FusedSums(add_products, 4)), panels.fused_sums
    found = channel_similarity(maps)
    last = channel_similarity(maps.to(memory_format=torch.channels_last)) if maps.dim() == 4 else found
    panels.fused_sums = known
    for one in (found, last):
        torch.testing.assert_close(one, expected, atol=1e-6, rtol=0)
        assert one[3, 10] == one[5, 7] == 1
        assert torch.equal(one[3], one[10])
        assert greedy_select(one).kept == greedy_select(expected).kept
"""


def test_the_kernel_adds_up_what_plain_operations_do():
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", _COMPARE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
