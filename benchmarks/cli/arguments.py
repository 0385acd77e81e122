"""The arguments of ``foad-bench``, each checked as far as it can be by itself."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ...adapters.cli.common import Parser
from ...adapters.cli.option_types import positive_int

Command = Callable[[argparse.Namespace], int]

_EXAMPLES = """examples:
  foad-bench run quickstart
  foad-bench run my-suite.yaml --data-root data --workers 4
  foad-bench run your-model --data-root photos --weights net.pth --set conditions.model.name=my_models.py:factory
  foad-bench run my-suite.yaml --import my_criteria.py --executor ray --address auto --device cuda

Each finished run is kept; the same command continues from there, and several may share a results folder.
Exit status: 0 done, 1 something failed, 2 wrong arguments or suite, 130 interrupted, 143 terminated."""


def make_parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """The parser; what runs a command is put into the namespace as ``command``.

    Args:
        commands: what runs each, by name.
    """
    parser = Parser(
        prog="foad-bench",
        description="Compare pruning criteria under equal conditions and keep every run as a record.",
    )
    added = parser.add_subparsers(required=True, metavar="COMMAND")

    run = added.add_parser(
        "run",
        help="run a suite, or what is missing of it, and show its leaderboard",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _suite(run)
    run.add_argument("--fresh", action="store_true", help="start over: delete this suite's records and base models")
    run.add_argument("--quiet", action="store_true", help="no progress, only the leaderboard")
    run.add_argument(
        "--log",
        choices=("tensorboard",),
        help="write loss and accuracy of each finished run to the folder tensorboard in the results folder",
    )
    run.add_argument(
        "--save-models",
        action="store_true",
        help="write the final network of each run that is done to the folder models in the results folder",
    )
    _where(run.add_argument_group("where it runs"))
    run.set_defaults(command=commands["run"])

    check = added.add_parser("check", help="check whether a suite can run, and how many of its runs are done")
    _suite(check)
    _hardware(check)
    check.set_defaults(command=commands["check"])

    report = added.add_parser("report", help="render tables and plots again from the records")
    report.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        nargs="?",
        default=Path("results/quickstart"),
        help="results folder (default: %(default)s)",
    )
    report.set_defaults(command=commands["report"])

    listing = added.add_parser("list", help="show the criteria, models, data sets and suites there are")
    _imports(listing)
    listing.set_defaults(command=commands["list"])
    return parser


def _suite(command: argparse.ArgumentParser) -> None:
    command.add_argument("suite", metavar="SUITE", help="a name that `foad-bench list` shows, or a YAML file")
    command.add_argument("--out", type=Path, metavar="DIR", help="results folder (default: results/SUITE)")
    command.add_argument(
        "--data-root",
        type=Path,
        metavar="DIR",
        default=os.environ.get("FOAD_DATA") or None,
        help="your folder with the data and weights that the suite names (default: environment variable FOAD_DATA)",
    )
    command.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="start from these weights instead of training: a state dict or training checkpoint (.safetensors, .pth, "
        ".pt, .th, .bin, .ckpt)",
    )
    command.add_argument(
        "--seeds", type=positive_int, metavar="N", help="run seeds 0 to N-1 (default: those of the suite)"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the suite, such as conditions.calibration_images=64; reusable",
    )
    command.add_argument("--smoke", action="store_true", help="a few steps only, to prove that the suite runs")
    _imports(command)


def _imports(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module, or a file FILE.py, that registers criteria, models or data of yours; reusable",
    )


def _where(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--workers",
        type=positive_int,
        metavar="N",
        help="runs at once, each in its own process (default: 1, in this one; with Ray as many as it has room for)",
    )
    group.add_argument("--executor", choices=("local", "ray"), default="local", help="default: %(default)s")
    group.add_argument(
        "--address", metavar="HOST:PORT", help="of a Ray cluster, or auto (default: Ray is started on this machine)"
    )
    _hardware(group)


def _hardware(group: argparse._ActionsContainer) -> None:
    group.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    group.add_argument(
        "--devices", type=positive_int, metavar="N", default=1, help="that train one network together (default: 1)"
    )
    group.add_argument(
        "--precision",
        choices=("32-true", "bf16-mixed", "16-mixed"),
        default="32-true",
        help="of training (default: %(default)s)",
    )
    group.add_argument(
        "--cuda-graphs",
        action="store_true",
        help="capture a step of training and replay it, for small images, with which a GPU waits for Python",
    )
