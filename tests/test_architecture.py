"""Rooms import only rooms before them: the three packages in this order, and the rooms of each as listed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {
    "foad_plugins": "utils criterion calibration recovery allocation cost report export",
    "adapters": "torch_pruning checkpoint nni prune lightning cli",
    "benchmarks": "registry datasets models criteria training suites records runs sweep report studies cli",
}
SEPARATE = {("nni", "checkpoint"), ("prune", "nni"), ("cli", "nni"), ("report", "runs"), ("report", "sweep")}
MOST_FILES, MOST_ROOMS = 16, 12
KNOWN: set[str] = set()
Module = tuple[str, ...]


def modules(root: Path) -> dict[Module, Path]:
    """Every module by its path from the repository's root; a package is its folder."""
    found = {}
    for path in (path for top in ROOMS for path in (root / top).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        # In a checkout that is installed, foad_plugins holds links to the other two.
        if parts[:2] not in {("foad_plugins", "adapters"), ("foad_plugins", "benchmarks")}:
            found[parts[:-1] if parts[-1] == "__init__" else parts] = path
    return found


def imports(module: Module, path: Path, known: dict[Module, Path]) -> Iterator[Module]:
    """The modules that a module imports anywhere, in functions and under TYPE_CHECKING too."""
    dotted = module if module[0] == "foad_plugins" else ("foad_plugins", *module)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [[alias.name] for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        start: Module = ()
        if isinstance(node, ast.ImportFrom):
            up = node.level - (path.name == "__init__.py")
            start = (*(dotted[: len(dotted) - up] if node.level else ()), *(node.module or "").split("."))
        for name in names:
            target = tuple(part for part in (*start, *name[0].split(".")) if part)
            while target and (place := target[1:] if target[1:2] in {("adapters",), ("benchmarks",)} else target):
                if place in known:
                    yield place
                    break
                target = target[:-1]


def rank(module: Module) -> tuple[int, int]:
    """Its place in the order: a package's own modules are its ground floor, the core's ``__init__`` its top."""
    top, rooms = list(ROOMS).index(module[0]), ROOMS[module[0]].split()
    if module == ("foad_plugins",):
        return top, len(rooms)
    return top, rooms.index(module[1]) if module[1:2] and module[1] in rooms else -1


def problems(root: Path) -> Iterator[str]:
    known = modules(root)
    graph = {module: set(imports(module, path, known)) - {module} for module, path in known.items()}
    # The public names of the adapters, which the core hands on lazily.
    graph[("foad_plugins",)] = {target for target in graph[("foad_plugins",)] if target[0] == "foad_plugins"}
    for module, targets in graph.items():
        for target in targets:
            separate = module[0] == target[0] and (*module[1:2], *target[1:2]) in SEPARATE
            if rank(target) > rank(module) or separate:
                yield f"{'.'.join(module)} must not import {'.'.join(target)}"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"circle: {' '.join(sorted('.'.join(module) for module in set(error.args[1])))}"
    folders = [path.parent for path in known.values() if path.name != "__init__.py"]
    yield from (
        f"{folder.relative_to(root)}: too many files" for folder in set(folders) if folders.count(folder) > MOST_FILES
    )
    for top, rooms in ROOMS.items():
        there = {module[1] for module in known if module[0] == top and len(module) > 2}
        yield from (f"{top}.{room} is no listed room" for room in sorted(there - set(rooms.split())))


def test_every_import_follows_the_order_of_the_rooms() -> None:
    assert set(problems(ROOT)) == KNOWN
    assert all(len(rooms.split()) <= MOST_ROOMS for rooms in ROOMS.values())


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        (
            "foad_plugins/cost/flops.py",
            "from ..export import api",
            "flops must not import foad_plugins.export",
        ),
        ("foad_plugins/export/other.py", "from foad_plugins.adapters import prune", "other must not import adapters"),
        ("foad_plugins/export/other.py", "def f():\n    import foad_plugins", "other must not import foad_plugins"),
        ("adapters/prune/api.py", "from ...benchmarks.runs import run", "api must not import benchmarks.runs.run"),
        ("benchmarks/report/page.py", "from ..runs.run import x", "page must not import benchmarks.runs.run"),
        ("foad_plugins/export/api.py", "if x:\n    from .other import b", "circle: foad_plugins.export.api"),
        ("benchmarks/extra/api.py", "", "benchmarks.extra is no listed room"),
        ("adapters/cli/m16.py", "", "cli: too many files"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, file: str, text: str, problem: str) -> None:
    tree = {
        **{f"{top}/__init__.py": "" for top in ROOMS},
        "foad_plugins/export/api.py": "import torch",
        "foad_plugins/export/other.py": "from .api import a",
        "adapters/prune/api.py": "from ... import export",
        "benchmarks/runs/run.py": "from ...adapters.prune.api import prune",
        **{f"adapters/cli/m{number}.py": "" for number in range(MOST_FILES)},
    }
    for name, content in tree.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert list(problems(tmp_path)) == []
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert any(problem in found for found in problems(tmp_path))


def test_every_package_is_in_the_wheel():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    listed = re.findall(r'"(foad_plugins[\w.]*)"', text.partition("packages = [")[2].partition("]")[0])
    packages = [module for module, path in modules(ROOT).items() if path.name == "__init__.py"]
    dotted = [".".join(name if name[0] == "foad_plugins" else ("foad_plugins", *name)) for name in packages]
    assert sorted(listed) == sorted(dotted)
