from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.registry.imports import import_all


@pytest.fixture(autouse=True)
def _as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is imported in a test is gone after it; each runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_file_and_a_module_are_imported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "log", [], raising=False)
    for name in ("by_path", "by_name"):
        (tmp_path / f"{name}.py").write_text(f"import sys; sys.log.append({name!r})")
    import_all(("by_path.py", "by_name"))
    import_all((str(tmp_path / "by_path.py"), "by_name"))
    assert sys.log == ["by_path", "by_name"]


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"import sys; sys.{folder}_was_here = True")
    import_all(("one/mine.py", "two/mine.py"))
    assert sys.one_was_here
    assert sys.two_was_here
    del sys.one_was_here, sys.two_was_here


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"import: there is no file .*mine\.py"),
        ("1 +", r"import: importing mine\.py fails: SyntaxError"),
        ("raise KeyError('x')", r"import: importing mine\.py fails: KeyError: 'x'"),
        ("raise SystemExit(3)", r"import: importing mine\.py fails: SystemExit"),
        ("import no_such_thing", "no_such_thing"),
    ],
)
def test_a_file_that_cannot_be_imported(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "mine.py").write_text(content)
    before = set(sys.modules)
    for _ in range(2):
        with pytest.raises(SettingsError, match=message):
            import_all(("mine.py",))
    assert not any("mine" in name for name in set(sys.modules) - before)


@pytest.mark.parametrize("name", ["no_such_module", "no_such_package.module", "../up", ""])
def test_a_module_that_is_not_there(name: str) -> None:
    with pytest.raises(SettingsError, match="import: "):
        import_all((name,))
