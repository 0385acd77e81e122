from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from foad_plugins.benchmarks.errors import BenchmarkError
from foad_plugins.benchmarks.sweep.locks import Claims


def test_a_name_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    first, second = Claims(tmp_path / "claims"), Claims(tmp_path / "claims")
    assert first.take("a")
    assert not first.take("a")
    assert not second.take("a")
    assert second.take("b")
    first.give_back("a")
    assert second.take("a")


def test_all_are_given_back(tmp_path: Path) -> None:
    first, second = Claims(tmp_path), Claims(tmp_path)
    assert first.take("a")
    assert first.take("b")
    first.give_back_all()
    first.give_back_all()
    assert second.take("a")
    assert second.take("b")


def test_what_was_never_claimed_cannot_be_given_back(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        Claims(tmp_path).give_back("a")


def test_nothing_is_made_before_the_first_claim(tmp_path: Path) -> None:
    Claims(tmp_path / "claims").give_back_all()
    assert not list(tmp_path.iterdir())


def test_lock_files_left_behind_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.lock").touch()
    assert Claims(tmp_path).take("a")


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: object, **kwargs: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", none)
    with pytest.raises(BenchmarkError, match=f"{tmp_path}: its file system has no locks"):
        Claims(tmp_path).take("a")
