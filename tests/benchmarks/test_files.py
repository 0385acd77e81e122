from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch

from foad_plugins.benchmarks.files import hash_json, hash_tensors
from foad_plugins.utils.files import write_atomically


def test_a_file_is_written_with_its_folders_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["b.json"]


def test_others_may_read_it_as_far_as_the_umask_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "x", b"")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_bytes_are_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[object] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor: int) -> None:
        steps.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    def spy_replace(source: str, target: Path) -> None:
        steps.append(Path(source).parent)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    write_atomically(tmp_path / "x", b"12345")
    assert steps == [5, tmp_path]


def test_json_hashes_depend_on_the_content() -> None:
    assert hash_json({"a": 1, "b": [2]}) == hash_json({"b": [2], "a": 1})
    assert hash_json({"a": 1}) != hash_json({"a": "1"})
    with pytest.raises(ValueError, match="JSON"):
        hash_json({"a": float("nan")})


def test_tensor_hashes_depend_on_name_type_shape_and_value() -> None:
    one = {"a": torch.zeros(4), "b": torch.ones(1)}
    assert hash_tensors(one) == hash_tensors({"b": torch.ones(1), "a": torch.zeros(4)})
    others = [
        {"a": torch.zeros(4), "c": torch.ones(1)},
        {"a": torch.zeros(2, 2), "b": torch.ones(1)},
        {"a": torch.zeros(4, dtype=torch.int32), "b": torch.ones(1)},
        {"a": torch.zeros(4), "b": torch.full((1,), 1.0001)},
        {"a": torch.zeros(4)},
    ]
    assert len({hash_tensors(tensors) for tensors in (one, *others)}) == 6


def test_tensors_that_are_not_contiguous_or_not_in_numpy_have_a_hash() -> None:
    matrix = torch.arange(6.0).view(2, 3)
    assert hash_tensors({"a": matrix.t()}) == hash_tensors({"a": matrix.t().contiguous()})
    assert hash_tensors({"a": matrix.bfloat16()}) != hash_tensors({"a": matrix.half()})
