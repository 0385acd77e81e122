from __future__ import annotations

from pathlib import Path

import pytest

from foad_plugins.benchmarks.suites.schema import Suite
from foad_plugins.benchmarks.sweep.runner import run_suite


@pytest.fixture
def finished(tiny_suite: Suite, tmp_path: Path) -> Path:
    """A results folder in which the tiny suite has run."""
    run_suite(tiny_suite, tmp_path / "out", quiet=True)
    return tmp_path / "out"
