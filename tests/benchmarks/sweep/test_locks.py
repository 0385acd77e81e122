from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from foad_plugins.benchmarks.errors import BenchmarkError
from foad_plugins.benchmarks.sweep.locks import Locks


def test_a_name_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    first, second = Locks(tmp_path / "locks"), Locks(tmp_path / "locks")
    assert first.acquire("a")
    assert not first.acquire("a")
    assert not second.acquire("a")
    assert second.acquire("b")
    first.release("a")
    assert second.acquire("a")


def test_all_are_released(tmp_path: Path) -> None:
    first, second = Locks(tmp_path), Locks(tmp_path)
    assert first.acquire("a")
    assert first.acquire("b")
    first.release_all()
    first.release_all()
    assert second.acquire("a")
    assert second.acquire("b")


def test_nothing_is_made_before_the_first_lock(tmp_path: Path) -> None:
    Locks(tmp_path / "locks").release_all()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_no_link_is_followed_and_nothing_is_truncated(tmp_path: Path, kind: str) -> None:
    precious, lock = tmp_path / "precious", tmp_path / "a.lock"
    precious.write_text("content")
    if kind == "link":
        lock.symlink_to(precious)
    else:
        os.mkfifo(lock)
    with pytest.raises(BenchmarkError, match=r"a\.lock cannot be used as a lock"):
        Locks(tmp_path).acquire("a")
    (tmp_path / "b.lock").write_text("content")
    assert Locks(tmp_path).acquire("b")
    assert precious.read_text() == (tmp_path / "b.lock").read_text() == "content"


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(BenchmarkError, match=f"{tmp_path}: sweeps need locks"):
        Locks(tmp_path).acquire("a")
