from __future__ import annotations

import subprocess
import sys

import pytest

_KEEPS = """
import torch
from foad_plugins.criterion.kernels.tf32 import disable_tf32

class OnGPU:
    is_cuda = True

settings = torch.backends.cuda.matmul

def allowed():
    try:
        return settings.allow_tf32
    except RuntimeError:
        return settings.fp32_precision != "ieee"

{setting}
before = allowed()
with disable_tf32(OnGPU()):
    assert not allowed()
assert allowed() == before
OnGPU.is_cuda = False
with disable_tf32(OnGPU()):
    assert allowed() == before
"""


@pytest.mark.parametrize(
    "setting",
    [
        "",
        "torch.set_float32_matmul_precision('high')",
        "settings.allow_tf32 = True",
        "if hasattr(settings, 'fp32_precision'): settings.fp32_precision = 'tf32'",
        "if hasattr(settings, 'fp32_precision'): torch.backends.fp32_precision = 'tf32'",
    ],
)
def test_tf32_is_off_inside_and_as_before_outside(setting):
    # The settings belong to the process, and made in two ways they contradict each other.
    done = subprocess.run([sys.executable, "-c", _KEEPS.format(setting=setting)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
