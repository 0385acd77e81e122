"""The command line: ``foad-bench run``, ``foad-bench report``, ``foad-bench list``."""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from .errors import BenchmarkError

__all__ = ["main"]

_NEEDED = ("matplotlib", "pydantic", "sklearn", "tabulate")
"""What the harness imports beyond the package's core dependencies; only functions below may lead to it."""


class _MissingExtraError(BenchmarkError):
    """The packages of the extra ``bench`` are not all installed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        argv: the arguments without the program's name; those of the process if None.

    Returns:
        0 if all went well, 1 on a failure, 2 on a wrong argument, 130 after Ctrl-C.
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:
        # argparse leaves the process itself, after --help and after an error that it has printed.
        return int(stop.code or 0)
    try:
        _require_extra()
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return int(arguments.command(arguments))
    except KeyboardInterrupt:
        print("\ninterrupted: finished runs are kept, the same command goes on from there", file=sys.stderr)
        return 130
    except (BenchmarkError, OSError) as error:
        print(f"foad-bench: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="foad-bench",
        description="Compare pruning criteria under equal conditions and keep every run as a record.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a suite, or what is missing of it, and show its leaderboard")
    run.add_argument("suite", metavar="SUITE", help="a name that `foad-bench list` shows")
    run.add_argument("--fresh", action="store_true", help="start over: delete this suite's records and base models")
    run.add_argument("--out", type=Path, metavar="DIR", help="results folder (default: results/SUITE)")
    run.add_argument(
        "--data-root",
        type=Path,
        metavar="DIR",
        default=os.environ.get("FOAD_DATA") or None,
        help="your folder with the data and weights that the suite names (default: environment variable FOAD_DATA)",
    )
    run.add_argument("--seeds", type=_positive, metavar="N", help="run seeds 0 to N-1 (default: the suite's own)")
    run.add_argument("--quiet", action="store_true", help="no progress, only the leaderboard")
    run.set_defaults(command=_run)

    report = commands.add_parser("report", help="render table, Markdown and plot again from the records")
    report.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path("results/quickstart"),
        help="results folder (default: %(default)s)",
    )
    report.set_defaults(command=_report)

    listing = commands.add_parser("list", help="show the criteria and suites there are")
    listing.set_defaults(command=_list)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from .registry import UnknownNameError
    from .runner import run_suite
    from .suites import SUITES

    try:
        suite = SUITES.get(arguments.suite)
    except UnknownNameError as error:
        print(f"foad-bench run: {error}", file=sys.stderr)
        return 2
    if arguments.seeds is not None:
        suite = suite.model_copy(update={"seeds": arguments.seeds})
    folder = arguments.out or Path("results") / suite.name
    start = time.perf_counter()
    outcome = run_suite(suite, folder, data_root=arguments.data_root, fresh=arguments.fresh, quiet=arguments.quiet)
    if not arguments.quiet:
        there = len(outcome.records) - outcome.executed
        print(f"{outcome.executed} runs in {time.perf_counter() - start:.0f} s, {there} were there already\n")
    return _show(folder)


def _report(arguments: argparse.Namespace) -> int:
    return _show(arguments.out)


def _show(folder: Path) -> int:
    from .report import render

    print(render(folder))
    print(f"\nwritten to {folder}: leaderboard.md, accuracy_flops.png, records/*.json")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from tabulate import tabulate

    from .criteria import CRITERIA
    from .suites import SUITES

    criteria = [(name, CRITERIA.describe(name)) for name in CRITERIA.names()]
    suites = [(name, SUITES.get(name).description) for name in SUITES.names()]
    print(tabulate(criteria, headers=("criterion", "what it goes by")))
    print()
    print(tabulate(suites, headers=("suite", "what it compares on")))
    return 0


def _require_extra() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise _MissingExtraError(
            f"the benchmarks need packages that are not installed ({', '.join(missing)}); "
            'install them with: pip install "foad-plugins[bench]"'
        )


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"foad-bench: warning: {message}", file=sys.stderr)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, got {number}")
    return number


if __name__ == "__main__":
    sys.exit(main())
