"""What looks for a CUDA compiler, and warns of a missing runtime, is imported only when something is timed."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = ["foad_plugins.adapters.cli", "foad_plugins.benchmarks.cli.commands"]


@pytest.mark.parametrize("module", ["foad_plugins", *COMMANDS])
def test_no_import_of_torchs_benchmark(module):
    pytest.importorskip("torchvision")
    program = f"import sys, {module}; print('torch.utils.cpp_extension' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert "CUDA runtime" not in done.stderr
