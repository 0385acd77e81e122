"""The command line: ``foad-bench run``, ``check``, ``report`` and ``list``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from ...adapters.cli.common import warnings_in_one_line
from ...utils.extras import missing_extra
from ...utils.text import printable_lines
from ..errors import BenchmarkError, SettingsError
from .arguments import make_parser
from .signals import TerminationRequested, handle_termination

_NEEDED = (
    "PIL",
    "itables",
    "jinja2",
    "lightning_fabric",
    "matplotlib",
    "plotly",
    "psutil",
    "pydantic",
    "scipy",
    "sklearn",
    "tabulate",
    "torchvision",
    "yaml",
)
"""What the harness imports beyond the package's core dependencies; only commands may lead to it."""


class _MissingExtraError(BenchmarkError):
    """The packages of the extra ``bench`` are not all installed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        argv: the arguments without the program's name; those of the process if None.

    Returns:
        0 on success, 1 on a failure, 2 on a wrong argument or suite, 130 after Ctrl-C, 143 after SIGTERM.
    """
    commands = {
        "run": _command("commands", "run"),
        "check": _command("commands", "check"),
        "report": _command("commands", "report"),
        "list": _command("commands", "show_list"),
    }
    try:
        arguments = make_parser(commands).parse_args(argv)
    except SystemExit as stop:
        # argparse leaves the process itself, after --help and after an error that it has printed.
        return int(stop.code or 0)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A sign that the terminal's encoding lacks must not cost the table.
        sys.stdout.reconfigure(errors="replace")
    try:
        missing = missing_extra("bench", {name: name for name in _NEEDED})
        if missing is not None:
            raise _MissingExtraError(f"the benchmarks cannot run: {missing}")
        with warnings_in_one_line("foad-bench"), handle_termination():
            status = int(arguments.command(arguments))
            sys.stdout.flush()
            return status
    except (TerminationRequested, KeyboardInterrupt) as end:
        terminated = isinstance(end, TerminationRequested) and end.number != 2
        word = "terminated" if terminated else "interrupted"
        print(f"\nfoad-bench: {word}: finished runs are kept, the same command continues from there", file=sys.stderr)
        return 143 if terminated else 130
    except BrokenPipeError:
        # The reader of the output has closed it; the rest must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (BenchmarkError, OSError) as error:
        print(f"foad-bench: {printable_lines(str(error).splitlines())}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1


def _command(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """A command that is imported when it is called, as that needs the extra."""

    def call(arguments: argparse.Namespace) -> int:
        return int(getattr(import_module(f".{module}", __package__), function)(arguments))

    return call
