"""The command line ``foad``: pruning without writing Python."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from .arguments import make_parser
from .common import warnings_in_one_line
from .errors import UsageError, in_one_line
from .export_command import run_export
from .info_command import run_info
from .prune_command import run_prune

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    The report is printed to the standard output, everything else to the standard error.

    Args:
        argv: the arguments without the program's name; those of the process if None.

    Returns:
        0 on success, 1 on a failure, 2 on a wrong argument, 130 after Ctrl-C.
    """
    try:
        arguments = make_parser({"prune": run_prune, "export": run_export, "info": run_info}).parse_args(argv)
        arguments.words = sys.argv[1:] if argv is None else list(argv)
    except SystemExit as stop:
        # argparse exits after --help and after an error that it has printed.
        return int(stop.code or 0)
    try:
        with warnings_in_one_line("foad"):
            return int(arguments.command(arguments))
    except KeyboardInterrupt:
        print("\nfoad: interrupted", file=sys.stderr)
        return 130
    # Models and their factories are user code, and may fail in any way.
    except Exception as error:
        if arguments.traceback:
            traceback.print_exc()
        print(f"foad: {in_one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
