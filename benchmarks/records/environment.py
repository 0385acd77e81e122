"""What a result was made with: library versions, threads, commit."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import BaseModel, ConfigDict, Field

METHOD: Final = 1
"""Number of the way in which runs are made: raised by one with a change after which the same inputs give other results.

Runs of another number do not count as done. The version of the package does not matter, so that results remain
valid after a release that changes none.
"""

_FIRST_VERSION: Final = "0.1.0"
"""The version of the package in the keys of all runs: before there was a method number, keys had the version."""

_PACKAGES = (
    "lightning-fabric",
    "numba",
    "numpy",
    "pillow",
    "pydantic",
    "ray",
    "scikit-learn",
    "scipy",
    "torchvision",
)


class Versions(BaseModel):
    """Versions of the libraries that can change a number, which a record's key is made from.

    Attributes:
        foad_plugins: for information; not part of the key.
        torch: as the distribution's metadata has it, as for the others.
        torch_pruning: the same.
        fvcore: the same.
        method: see :data:`METHOD`; that of a record without one is 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    foad_plugins: str
    torch: str
    torch_pruning: str
    fvcore: str
    method: int = Field(default=1, ge=1)

    @classmethod
    def installed(cls) -> Versions:
        """The versions in this environment, taken from the distributions' metadata.

        A package's own ``__version__`` can be outdated: in Torch-Pruning 1.6.1 it is 1.6.0.
        """
        return cls(
            foad_plugins=metadata.version("foad-plugins"),
            torch=metadata.version("torch"),
            torch_pruning=metadata.version("torch-pruning"),
            fvcore=metadata.version("fvcore"),
            method=METHOD,
        )

    def keyed(self) -> dict[str, Any]:
        """What enters the key of a run."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"foad_plugins": _FIRST_VERSION}


class Environment(BaseModel):
    """Circumstances kept for information, but not part of a record's name.

    Attributes:
        python: version.
        platform: system and kind of machine.
        processor: the GPU's name, or what torch uses of the CPU; empty where it was not kept.
        threads: of torch on the CPU.
        git_commit: of the harness, see :func:`git_commit`.
        packages: versions of other libraries at work, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: str
    platform: str
    processor: str = ""
    threads: int
    git_commit: str | None
    packages: dict[str, str] = {}

    @classmethod
    def current(cls, device: str = "cpu") -> Environment:
        """The circumstances of this process, which computes on a device."""
        on_gpu = device == "cuda"
        return cls(
            python=platform.python_version(),
            platform=f"{platform.system()} {platform.machine()}",
            processor=torch.cuda.get_device_name() if on_gpu else torch.backends.cpu.get_cpu_capability(),
            threads=torch.get_num_threads(),
            git_commit=git_commit(Path(__file__)),
            packages=dict(sorted(_installed(_PACKAGES))),
        )


def _installed(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)


def git_commit(file: Path) -> str | None:
    """The commit of the checkout that tracks ``file``, with ``-dirty`` if there are changes; None elsewhere.

    A package installed into a virtual environment may be inside an unrelated repository, so the
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
