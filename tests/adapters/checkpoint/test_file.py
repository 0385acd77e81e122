from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import sys

import pytest
import safetensors.torch
import torch

from foad_plugins.adapters.checkpoint.file import CheckpointError, read_checkpoint, write_sealed

TENSORS = {
    "a": torch.arange(6.0).view(2, 3),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
    "count": torch.tensor(3),
    "none": torch.zeros(0, 2),
}
CONTENT = {"list": [1, 2.5, None, 'é"\\'], "map": {"a": True}}


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "x.safetensors"
    write_sealed(file, TENSORS, CONTENT)
    return file


def corrupted(data, seed=0):
    """Damaged copies of a file: cut at many places, and single bits turned all over."""
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


def test_a_file_comes_back(path):
    content, tensors = read_checkpoint(path)
    assert content == CONTENT
    assert {name: (tensor.dtype, tensor.tolist()) for name, tensor in tensors.items()} == {
        name: (tensor.dtype, tensor.tolist()) for name, tensor in TENSORS.items()
    }


def test_the_same_contents_give_the_same_file_which_safetensors_reads(path, tmp_path):
    write_sealed(tmp_path / "y", dict(reversed(TENSORS.items())), CONTENT)
    assert (tmp_path / "y").read_bytes() == path.read_bytes()
    assert torch.equal(safetensors.torch.load_file(path)["a"], TENSORS["a"])


def test_no_damage_goes_unnoticed(path):
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        with pytest.raises(CheckpointError, match="x.safetensors"):
            read_checkpoint(path)
    for how, damaged in corrupted(data):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            print(how, read_checkpoint(path))


def _resealed(path, **changes):
    """A file with other fields, whose hash is right all the same."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    fields = {**json.loads(header["__metadata__"]["foad_plugins"]), "sha256": "0" * 64, **changes}
    new = safetensors.torch.save(TENSORS, {"foad_plugins": json.dumps(fields)})
    path.write_bytes(new.replace(b"0" * 64, hashlib.sha256(new).hexdigest().encode()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "format version 2, and this version of foad-plugins reads up to 1: install a newer"),
        ({"version": 0}, "edited"),
        ({"version": True}, "edited"),
        ({"version": "1"}, "edited"),
        ({"format": "other"}, "edited"),
        ({"more": 1}, "edited"),
        ({"sha256": 3}, "edited"),
        ({"sha256": ""}, "edited"),
    ],
)
def test_other_headers(path, changes, message):
    _resealed(path)
    read_checkpoint(path)
    _resealed(path, **changes)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


def test_tensors_that_overlap_under_a_right_hash(path):
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    fields = json.loads(header["__metadata__"]["foad_plugins"])
    header["__metadata__"]["foad_plugins"] = json.dumps({**fields, "sha256": "0" * 64})
    header["a"]["data_offsets"] = [0, 2]
    text = json.dumps(header).encode()
    new = len(text).to_bytes(8, "little") + text + data[end:]
    path.write_bytes(new.replace(b"0" * 64, hashlib.sha256(new).hexdigest().encode()))
    with pytest.raises(CheckpointError, match="holds tensors that cannot be read"):
        read_checkpoint(path)


def _legacy(path):
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"\x80"), "no safetensors file"),
        (lambda path: path.write_bytes(b"weights"), "no safetensors file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "edited, or is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "truncated or damaged"),
        (lambda path: torch.save({"a": torch.ones(1)}, path), r"is a pickle, .* torch.load\(.*weights_only=True\)"),
        (_legacy, "is a pickle"),
        (lambda path: path.write_bytes(pickle.dumps([1], protocol=4)), "is a pickle"),
        (lambda path: safetensors.torch.save_file({"a": torch.ones(1)}, path), "but none that save_pruned wrote"),
        (lambda path: safetensors.torch.save_file({"a": torch.ones(1)}, path, {"format": "pt"}), "but none that"),
        (lambda path: path.write_bytes(b"\x02\0\0\0\0\0\0\0[]"), "no safetensors file"),
        (lambda path: path.write_bytes((10**5).to_bytes(8, "little") + b"[" * 10**5), "no safetensors file"),
    ],
)
def test_other_files(path, write, message):
    write(path)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_checkpoint(tmp_path)


def test_where_nothing_can_be_written(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing' to write 'x' to"):
        write_sealed(tmp_path / "missing" / "x", TENSORS, CONTENT)
    with pytest.raises(IsADirectoryError, match="is a folder: name a file"):
        write_sealed(tmp_path, TENSORS, CONTENT)
    assert list(tmp_path.iterdir()) == []

    def fail(*_):
        raise OSError(28, "No space left on device")

    (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="cannot be written: No space left"):
        write_sealed(tmp_path / "x", TENSORS, CONTENT)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="cannot be written"):
            write_sealed(tmp_path / "x", TENSORS, CONTENT)
    finally:
        tmp_path.chmod(0o700)


def test_tensors_that_safetensors_does_not_hold(tmp_path):
    with pytest.raises(CheckpointError, match="safetensors cannot hold"):
        write_sealed(tmp_path / "x", {"a": torch.eye(2).to_sparse()}, CONTENT)
    assert list(tmp_path.iterdir()) == []
