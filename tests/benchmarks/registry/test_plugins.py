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
    with pytest.raises(SettingsError, match=r"^import: there is no file .*mine\.py"):
        import_all(("by_path.py", "mine.py"))
