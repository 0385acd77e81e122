"""What a result was made with: library versions, threads, commit."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

__all__ = ["Environment", "Versions"]


class Versions(BaseModel):
    """Versions of the libraries that can change a number; part of what a record is named by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    foad_plugins: str
    torch: str
    torch_pruning: str
    fvcore: str

    @classmethod
    def installed(cls) -> Versions:
        """The versions in this environment, taken from the distributions' metadata.

        A package's own ``__version__`` can lag behind: Torch-Pruning 1.6.1 says 1.6.0.
        """
        return cls(
            foad_plugins=metadata.version("foad-plugins"),
            torch=metadata.version("torch"),
            torch_pruning=metadata.version("torch-pruning"),
            fvcore=metadata.version("fvcore"),
        )


class Environment(BaseModel):
    """Circumstances kept for the reader but not part of a record's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: str
    platform: str
    threads: int
    git_commit: str | None

    @classmethod
    def current(cls) -> Environment:
        """The circumstances of this process."""
        return cls(
            python=platform.python_version(),
            platform=f"{platform.system()} {platform.machine()}",
            threads=torch.get_num_threads(),
            git_commit=git_commit(Path(__file__)),
        )


def git_commit(file: Path) -> str | None:
    """The commit of the checkout that tracks ``file``, with ``-dirty`` if there are changes; None elsewhere.

    A package installed into a virtual environment may lie inside somebody's unrelated repository, so the
    file itself must be tracked for the commit to mean anything.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return git("describe", "--always", "--dirty", "--abbrev=40", "--match=")
    except (OSError, subprocess.SubprocessError):
        return None
