"""``foad-bench list``."""

from __future__ import annotations

import argparse
from typing import Any

from tabulate import tabulate

from .criteria import CRITERIA
from .datasets import DATASETS
from .models import MODELS
from .plugins import import_all
from .registry import FactoryRegistry
from .suite_file import find_suite, suite_names

__all__ = ["show_list"]

_OWN = "package.module:factory or FILE.py:factory"


def show_list(arguments: argparse.Namespace) -> int:
    """Show what suites can name, and the suites there are, each with its one-liner."""
    import_all(tuple(arguments.imports))
    models = [*_described(MODELS), ("torchvision:NAME", "any classifier of torchvision"), (_OWN, "a function of yours")]
    tables = {
        ("criterion", "what it goes by"): _described(CRITERIA),
        ("model", "what it is"): models,
        ("data set", "what it holds"): [*_described(DATASETS), (_OWN, "a function of yours")],
        ("suite", "what it compares on"): [(name, find_suite(name).description) for name in suite_names()],
    }
    print("\n\n".join(tabulate(rows, headers=headers) for headers, rows in tables.items()))
    return 0


def _described(registry: FactoryRegistry[Any]) -> list[tuple[str, str]]:
    return [(name, registry.describe(name)) for name in registry.names()]
