from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from foad_plugins.benchmarks.errors import BenchmarkError
from foad_plugins.benchmarks.sweep.locks import Locks


def test_a_name_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    first, second = Locks(tmp_path / "claims"), Locks(tmp_path / "claims")
    assert first.acquire("a")
    assert not first.acquire("a")
    assert not second.acquire("a")
    assert second.acquire("b")
    first.release("a")
    assert second.acquire("a")


def test_all_are_given_back(tmp_path: Path) -> None:
    first, second = Locks(tmp_path), Locks(tmp_path)
    assert first.acquire("a")
    assert first.acquire("b")
    first.release_all()
    first.release_all()
    assert second.acquire("a")
    assert second.acquire("b")


def test_what_was_never_claimed_cannot_be_given_back(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        Locks(tmp_path).release("a")


def test_nothing_is_made_before_the_first_claim(tmp_path: Path) -> None:
    Locks(tmp_path / "claims").release_all()
    assert not list(tmp_path.iterdir())


def test_lock_files_left_behind_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.lock").touch()
    assert Locks(tmp_path).acquire("a")


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: object, **kwargs: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", none)
    with pytest.raises(BenchmarkError, match=f"{tmp_path}: its file system has no locks"):
        Locks(tmp_path).acquire("a")
