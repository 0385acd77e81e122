from __future__ import annotations

import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from foad_plugins.benchmarks.records.environment import Versions, git_commit


def test_versions_are_those_of_the_distributions() -> None:
    versions = Versions.installed()
    assert versions.torch_pruning == metadata.version("torch-pruning")
    assert versions.foad_plugins == metadata.version("foad-plugins")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_of_a_tracked_file_only(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    file, other = tmp_path / "a.py", tmp_path / "b.py"
    file.write_text("1")
    other.write_text("1")
    assert git_commit(file) is None
    git("init", "-q")
    assert git_commit(file) is None
    git("add", "a.py")
    git("commit", "-q", "-m", "m")
    commit = git("rev-parse", "HEAD")
    assert git_commit(file) == commit
    assert git_commit(other) is None
    file.write_text("2")
    assert git_commit(file) == f"{commit}-dirty"


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(Path(__file__)) is None
