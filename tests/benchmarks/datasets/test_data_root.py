from __future__ import annotations

from pathlib import Path

import pytest

from foad_plugins.benchmarks.datasets.data_root import DataRoot, MissingFileError


def test_a_file_is_found_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "some.npz").write_bytes(b"")
    assert DataRoot(tmp_path).file("data/some.npz") == tmp_path / "data" / "some.npz"


@pytest.mark.parametrize("name", ["data/other.npz", "data"])
def test_what_is_no_file_is_named_with_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(MissingFileError, match=f"there is no file '{name}' in the data root '{tmp_path}'"):
        DataRoot(tmp_path).file(name)


def test_without_a_folder_the_ways_to_give_one_are_named() -> None:
    with pytest.raises(MissingFileError, match=r"reads data/some.npz .*--data-root DIR .*FOAD_DATA"):
        DataRoot().file("data/some.npz")


def test_a_folder_is_found_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert DataRoot(tmp_path).directory("data") == tmp_path / "data"
    assert DataRoot(tmp_path).directory(".") == tmp_path


@pytest.mark.parametrize("name", ["other", "some.npz"])
def test_what_is_no_folder_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "some.npz").write_bytes(b"")
    with pytest.raises(MissingFileError, match=f"there is no folder '{name}' in the data root '{tmp_path}'"):
        DataRoot(tmp_path).directory(name)
    with pytest.raises(MissingFileError, match="--data-root"):
        DataRoot().directory(name)


@pytest.mark.parametrize("root", [None, Path("nowhere")])
def test_an_absolute_name_needs_no_data_root(tmp_path: Path, root: Path | None) -> None:
    file = tmp_path / "some.npz"
    file.write_bytes(b"")
    assert DataRoot(root).file(str(file)) == file
    with pytest.raises(MissingFileError, match=f"there is no file '{tmp_path}/other', which this suite reads"):
        DataRoot(root).file(f"{tmp_path}/other")


@pytest.mark.parametrize(("name", "what"), [("data/some.npz", "data/some.npz"), (".", "your files")])
def test_a_data_root_that_is_not_there(name: str, what: str) -> None:
    with pytest.raises(MissingFileError, match=f"reads {what}, but there is no folder 'nowhere': name one with --data"):
        DataRoot(Path("nowhere")).path(name)
