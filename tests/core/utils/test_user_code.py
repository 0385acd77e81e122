from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from foad_plugins.utils.user_code import UserCodeError, find_callable


@pytest.fixture(autouse=True)
def _imports_as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    return path


def test_a_file_by_its_path_relative_or_not(tmp_path: Path) -> None:
    path = written(
        tmp_path / "nets" / "mine.py", "def make(): return 3\nclass Box:\n    @staticmethod\n    def make(): return 4"
    )
    assert find_callable("nets/mine.py:make")() == 3
    assert find_callable(f"{path}:Box.make")() == 4
    assert find_callable(f"{path}:make") is find_callable("nets/mine.py:make")


def test_files_of_one_name_are_kept_apart_and_see_their_neighbours(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        written(tmp_path / folder / "mine.py", f"from side_{folder} import value\ndef make(): return value")
        written(tmp_path / folder / f"side_{folder}.py", f"value = '{folder}'")
    assert [find_callable(f"{folder}/mine.py:make")() for folder in ("one", "two")] == ["one", "two"]


def test_a_module_of_the_current_folder_and_an_installed_one(tmp_path: Path) -> None:
    written(tmp_path / "my_package" / "nets.py", "def make(): return 5")
    assert find_callable("my_package.nets:make")() == 5
    assert find_callable("pathlib:Path") is Path


def test_a_file_does_not_hide_what_is_installed(tmp_path: Path) -> None:
    written(tmp_path / "json.py", "dumps = 3")
    assert find_callable("json:dumps")([1]) == "[1]"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:make", "there is no module no_such_module, installed or in "),
        ("pathlib.nothing:make", "there is no module pathlib.nothing"),
        ("nothing.py:make", "there is no file .*nothing.py"),
        ("pathlib:Pathh", "pathlib has no attribute 'Pathh'; did you mean 'Path'"),
        ("pathlib:sys.nothing", "has no attribute 'sys.nothing'"),
        ("math:pi", "pi must be callable, got float"),
        ("two words:make", "neither a module's name nor a file that ends in .py"),
        (":make", "write package.module:factory"),
        ("pathlib:", "write package.module:factory"),
        ("pathlib:Path()", "write package.module:factory"),
    ],
)
def test_what_is_not_there(name: str, message: str) -> None:
    with pytest.raises(UserCodeError, match=message):
        find_callable(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", r"importing broken.py fails: ZeroDivisionError: division by zero \(.*broken.py, line 1\)"),
        ("\nimport no_such_thing", r"ModuleNotFoundError: No module named 'no_such_thing' \(.*broken.py, line 2\)"),
        ("def", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_a_module_that_cannot_be_imported(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path / "broken.py", text)
    for _ in range(2):
        with pytest.raises(UserCodeError, match=message):
            find_callable("broken.py:make")
    path.write_text("def make(): return 1  # mended in the meantime")
    assert find_callable("broken.py:make")() == 1


def test_an_installed_module_that_lacks_what_it_imports_itself(tmp_path: Path) -> None:
    written(tmp_path / "lacking.py", "import no_such_thing")
    with pytest.raises(
        UserCodeError, match="importing lacking fails: ModuleNotFoundError: No module named 'no_such_thing'"
    ):
        find_callable("lacking:make")
