"""What figures were made with: libraries, machine, commit."""

from __future__ import annotations

from collections.abc import Iterable

from .board import Leaderboard

__all__ = ["origin"]


def origin(board: Leaderboard) -> list[str]:
    """Versions and device, then the commits of the harness, where they are known."""
    versions, environments = board.setup.versions, board.environments
    lines = [
        f"foad-plugins {versions.foad_plugins}, torch {versions.torch}, torch-pruning {versions.torch_pruning}, fvcore "
        f"{versions.fvcore}; Python {_listed(environment.python for environment in environments)}, "
        f"{_listed(environment.platform for environment in environments)}; {board.place}."
    ]
    commits = _listed(
        environment.git_commit[:12] + _dirty(environment.git_commit)
        for environment in environments
        if environment.git_commit
    )
    if commits:
        unknown = any(environment.git_commit is None for environment in environments)
        lines.append(f"Commit of the harness: {commits}{', and unknown' if unknown else ''}.")
    return lines


def _dirty(commit: str) -> str:
    return " with changes" if commit.endswith("-dirty") else ""


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
