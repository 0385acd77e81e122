from __future__ import annotations

import json
import os
import pickle
import random
import stat
import sys
import time

import pytest
import safetensors.torch
import torch

from foad_plugins.adapters.checkpoint.file import (
    CheckpointError,
    encode,
    read_checkpoint,
    read_header,
    write_checkpoint,
)

TENSORS = {
    "a": torch.arange(6.0).view(2, 3),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
    "count": torch.tensor(3),
    "none": torch.zeros(0, 2),
}
CONTENT = {"list": [1, 2.5, None, 'é"\\'], "map": {"a": True}}
LIMIT = 1000


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "x.safetensors"
    write_checkpoint(file, encode(TENSORS, CONTENT))
    return file


def corrupted(data, seed=0):
    """Damaged copies of a file: truncated at many places, and single bits flipped everywhere."""
    generator = random.Random(seed)
    header = int.from_bytes(data[:8], "little")
    for length in [1, 7, 8, 9, 8 + header // 2, 8 + header - 1, 8 + header, 8 + header + 1, len(data) - 1]:
        yield f"cut to {length}", data[:length]
    for length in sorted(generator.sample(range(2, len(data)), 8)):
        yield f"cut to {length}", data[:length]
    yield "longer", data + b"\0"
    places = [0, 1, 2, 7, 8, 9, 20, 8 + header - 1, 8 + header, len(data) - 1]
    places += generator.sample(range(10, 8 + header), 15) + generator.sample(range(8 + header, len(data)), 10)
    for place in places:
        bit = generator.randrange(8)
        yield f"bit {bit} of byte {place}", data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
    yield "random bytes", generator.randbytes(len(data))


def test_a_file_is_read_as_it_was_written(path, tmp_path):
    content, tensors = read_checkpoint(path, LIMIT)
    assert content == CONTENT
    assert {name: (tensor.dtype, tensor.tolist()) for name, tensor in tensors.items()} == {
        name: (tensor.dtype, tensor.tolist()) for name, tensor in TENSORS.items()
    }
    header, entries = read_header(path)
    assert header == CONTENT
    assert entries["a"]["shape"] == [2, 3]
    assert encode(dict(reversed(TENSORS.items())), CONTENT) == path.read_bytes()
    assert torch.equal(safetensors.torch.load_file(path)["a"], TENSORS["a"])


def test_all_damage_is_found(path):
    data = path.read_bytes()
    flipped = (data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in range(len(data)))
    for damaged in [*flipped, *(damaged for _, damaged in corrupted(data))]:
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="x.safetensors"):
            read_checkpoint(path, LIMIT)


def test_more_weights_than_the_network_can_take_are_not_read(path):
    with pytest.raises(CheckpointError, match="bytes of weights; the network can take 10 at most"):
        read_checkpoint(path, 10)


@pytest.mark.parametrize("version", [1, 3, 0, True, "2", 10**4000])
def test_other_versions(path, version, monkeypatch):
    monkeypatch.setattr("foad_plugins.adapters.checkpoint.file.VERSION", version)
    path.write_bytes(encode(TENSORS, CONTENT))
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format version .*; this foad-plugins reads version 2"):
        read_checkpoint(path, LIMIT)


def test_other_formats_and_fields(path, monkeypatch):
    monkeypatch.setattr("foad_plugins.adapters.checkpoint.file.FORMAT", "other")
    path.write_bytes(encode(TENSORS, CONTENT))
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="edited"):
        read_checkpoint(path, LIMIT)
    safetensors.torch.save_file(TENSORS, path, {"foad_plugins": "{}", "sha256": "", "more": ""})
    with pytest.raises(CheckpointError, match="not a file of save_pruned"):
        read_checkpoint(path, LIMIT)


def test_tensors_that_overlap_under_a_right_digest(path, monkeypatch):
    def overlapping(tensors):
        data = real(tensors)
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        header["a"]["data_offsets"] = [0, 2]
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data[end:]

    real = safetensors.torch.save
    monkeypatch.setattr(safetensors.torch, "save", overlapping)
    path.write_bytes(encode(TENSORS, CONTENT))
    with pytest.raises(CheckpointError, match="holds tensors that cannot be read"):
        read_checkpoint(path, LIMIT)


def _legacy(path):
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"\x80"), "not a safetensors file"),
        (lambda path: path.write_bytes(b"weights"), "not a safetensors file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "truncated or damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "is truncated"),
        (lambda path: torch.save({"a": torch.ones(1)}, path), "is a pickle"),
        (_legacy, "is a pickle"),
        (lambda path: path.write_bytes(pickle.dumps([1], protocol=4)), "is a pickle"),
        (lambda path: safetensors.torch.save_file({"a": torch.ones(1)}, path), "not a file of save_pruned"),
        (lambda path: safetensors.torch.save_file({"a": torch.ones(1)}, path, {"format": "pt"}), "not a file of"),
        (lambda path: path.write_bytes(b"\x02\0\0\0\0\0\0\0[]"), "not a safetensors file"),
        (lambda path: path.write_bytes((10**6).to_bytes(8, "little") + b'{"a":' + b"[" * 10**6), "not a safetensors"),
        (lambda path: path.write_bytes((10**6).to_bytes(8, "little") + b'{"a":' + b"1" * 10**6), "not a safetensors"),
    ],
)
def test_other_files(path, write, message):
    write(path)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path, LIMIT)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "nothing", LIMIT)
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_checkpoint(tmp_path, LIMIT)


@pytest.mark.skipif(sys.platform == "win32", reason="has no FIFO")
def test_only_regular_files_are_read_and_replaced(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "device").symlink_to("/dev/zero")
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(6 * 2**30)
    start = time.perf_counter()
    for name in ("fifo", "device"):
        for read in (read_header, lambda path: read_checkpoint(path, LIMIT)):
            with pytest.raises(CheckpointError, match="not a regular file"):
                read(tmp_path / name)
        with pytest.raises(OSError, match="exists and is no regular file"):
            write_checkpoint(tmp_path / name, b"")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_checkpoint(tmp_path / "sparse", LIMIT)
    assert time.perf_counter() - start < 2
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


def test_a_large_sparse_file_with_a_right_header(path):
    with path.open("r+b") as stream:
        stream.truncate(6 * 2**30)
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match="bytes of weights"):
        read_checkpoint(path, LIMIT)
    assert time.perf_counter() - start < 2


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "link").symlink_to("target")
    for data in (b"new", b"newer"):
        write_checkpoint(tmp_path / "link", data)
        assert (tmp_path / "target").read_bytes() == data
    assert (tmp_path / "link").is_symlink()


def test_where_nothing_can_be_written(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing' to write 'x' to"):
        write_checkpoint(tmp_path / "missing" / "x", b"")
    with pytest.raises(IsADirectoryError, match="is a folder: name a file"):
        write_checkpoint(tmp_path, b"")
    assert list(tmp_path.iterdir()) == []

    def fail(*_):
        raise OSError(28, "No space left on device")

    (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="cannot be written: No space left"):
        write_checkpoint(tmp_path / "x", b"new")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="cannot be written"):
            write_checkpoint(tmp_path / "x", b"")
    finally:
        tmp_path.chmod(0o700)


def test_what_the_file_cannot_hold(monkeypatch):
    with pytest.raises(CheckpointError, match="safetensors cannot hold"):
        encode({"a": torch.eye(2).to_sparse()}, CONTENT)
    monkeypatch.setattr("foad_plugins.adapters.checkpoint.file._MAX_HEADER", 100)
    with pytest.raises(CheckpointError, match="names and sizes take .* bytes; 100 are allowed"):
        encode(TENSORS, CONTENT)


def test_messages_are_short():
    assert len(str(CheckpointError("a" * 10**6))) == 200
    assert str(CheckpointError("a" * 200)) == "a" * 200
