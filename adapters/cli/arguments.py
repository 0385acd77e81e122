"""The arguments of ``foad``, each checked as far as it can be by itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .common import Parser
from .option_types import (
    above_zero,
    export_file,
    layer_share,
    memory_limit,
    positive_int,
    safetensors_file,
    share,
    size,
    unit_interval,
)

__all__ = ["TARGETS", "make_parser", "own_version"]

TARGETS = ("flops", "params", "latency", "pruning_ratio")
_EXAMPLES = """examples:
  foad prune --model torchvision:resnet50 --weights DEFAULT --data photos/ --flops 0.5 --out small.safetensors
  foad prune --model mynets.vgg:build --weights vgg.safetensors --data photos/ --size 32 --mean 0.5 --std 0.25 \\
      --params 0.3 --out small.safetensors --report report.html
  foad prune --model mynets.vgg:build --weights vgg.safetensors --data photos/ --size 32 --mean 0.5 --std 0.25 \\
      --flops 0.35 --recover 5 --out small.safetensors
  foad export --model mynets.vgg:build --weights small.safetensors --size 32 --out small.onnx

The result is loaded from Python: load_pruned(network, "small.safetensors").
Exit status: 0 done, 1 failed, 2 wrong arguments, 130 interrupted."""


def make_parser(run: Mapping[str, Callable[[argparse.Namespace], int]]) -> argparse.ArgumentParser:
    """The parser; the function that runs a command is put into the namespace as ``command``.

    Args:
        run: the functions by command: ``"prune"``, ``"export"`` and ``"info"``.
    """
    parser = Parser(prog="foad", description="FOAD filter pruning of PyTorch models.")
    parser.add_argument("--version", action="version", version=f"foad-plugins {own_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "prune",
        help="prune a trained model and save it",
        description="Prune a trained model by the feature maps that it gives on sample images; labels are not needed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(command=run["prune"])
    _add_model_options(command.add_argument_group("the model"))
    _add_data_options(command.add_argument_group("the calibration images"))
    _add_target_options(command)
    _add_method_options(command.add_argument_group("method"))
    _add_recovery_options(command.add_argument_group("training"))
    _add_output_options(command.add_argument_group("output"))
    _add_export(commands.add_parser("export", help="write a model as ONNX, torch.export or TorchScript"), run["export"])
    description = "Print the widths, parameters and versions in the file of a pruned model."
    show = commands.add_parser("info", help="print what the file of a pruned model holds", description=description)
    show.set_defaults(command=run["info"], traceback=False)
    show.add_argument("file", type=Path, metavar="FILE", help="a file that foad prune or save_pruned wrote")
    return parser


def _add_export(command: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    command.description = "Export a model, pruned or not, run the file, and compare its outputs with the model's."
    command.set_defaults(command=run)
    _add_model_options(command.add_argument_group("the model"))
    group = command.add_argument_group("output")
    group.add_argument(
        "--out", type=export_file, required=True, metavar="FILE", help="written as its suffix says: .onnx, .pt2 or .ts"
    )
    group.add_argument(
        "--size",
        type=size,
        metavar="S",
        help="of the images: 224, or height and width as 112x96 (default: as in prune)",
    )
    _add_channels(group)
    group.add_argument("--quiet", action="store_true", help="print only the result")
    group.add_argument("--traceback", action="store_true", help="print the traceback of an error")


def _add_channels(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--channels",
        type=int,
        choices=(1, 2, 3, 4),
        help="of the images: gray, gray and alpha, RGB, RGBA (default: those of the first convolution)",
    )


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help="torchvision:NAME; or MODULE:FACTORY or FILE.py:FACTORY, called without arguments (modules also searched "
        "in the current folder)",
    )
    # argparse draws exclusive options into a group's help only where they were made from the group.
    weights = group.add_mutually_exclusive_group(required=True)
    weights.add_argument(
        "--weights",
        metavar="FILE",
        help="state dict or training checkpoint (.safetensors, .pth, .pt, .th, .bin, .ckpt), pruned model, or weights "
        "of torchvision: DEFAULT, IMAGENET1K_V2",
    )
    weights.add_argument(
        "--as-built",
        action="store_true",
        help="the weights that your factory has loaded; for torchvision:NAME they are random, for a first try",
    )
    group.add_argument("--num-classes", type=positive_int, metavar="N", help="outputs of a torchvision model")
    group.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps (default: cuda if there is one)")


def _add_data_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="PATH",
        help="folder of images, searched with its subfolders; or .npz with uint8 images (N, H, W, 3), which keep "
        "their size, or floats (N, C, H, W), which are used as they are",
    )
    group.add_argument("--array", metavar="NAME", help="which array of the .npz (default: images, or the only one)")
    group.add_argument(
        "--images",
        type=positive_int,
        default=128,
        metavar="N",
        help="number of images, evenly spread over all images sorted by path (default: %(default)s)",
    )
    group.add_argument(
        "--batch-size", type=positive_int, default=32, metavar="N", help="largest batch (default: %(default)s)"
    )
    group.add_argument("--size", type=size, metavar="S", help="center crop: 224, or height and width as 112x96")
    group.add_argument("--resize", type=size, metavar="S", help="first resize: shorter side, or height and width")
    _add_channels(group)
    group.add_argument("--mean", type=float, nargs="+", metavar="X", help="mean of pixels in [0, 1]: one or three")
    group.add_argument(
        "--std",
        type=above_zero,
        nargs="+",
        metavar="X",
        help="deviation of pixels (default of these four: torchvision's for its model, else those of ImageNet)",
    )


def _add_target_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group(
        "amount",
        "One target, or --flops and --params together. Without a target, the published rule decides how many channels "
        "are removed.",
    )
    target = group.add_mutually_exclusive_group()
    for name, what in (("flops", "FLOPs"), ("params", "parameters"), ("latency", "time of a call")):
        # Both of these can be met at once; prune() refuses the other pairs.
        (group if name == "params" else target).add_argument(
            f"--{name}", type=share, metavar="SHARE", help=f"share of the {what} that is kept: 0.5 for half"
        )
    target.add_argument("--pruning-ratio", type=share, metavar="SHARE", help="share of the channels to remove")
    group.add_argument(
        "--neighbors", type=positive_int, metavar="T", help="of the rule: candidates per channel (default: 1)"
    )
    group.add_argument(
        "--threshold", type=unit_interval, metavar="S", help="of the rule: least similarity (default: 0)"
    )
    group.add_argument(
        "--layer-ratio",
        type=layer_share,
        action="append",
        metavar="LAYER=SHARE",
        help="remove this share of a layer's channels, whatever the target; repeatable",
    )
    group.add_argument("--max-pruning-ratio", type=unit_interval, metavar="SHARE", help="most that a layer loses")
    group.add_argument("--ignore", action="append", metavar="LAYER", help="a layer that keeps all channels; repeatable")


def _add_method_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--order",
        choices=("reconstruction", "patches", "rounds", "backward"),
        help="ranking within a layer",
    )
    group.add_argument(
        "--ranking",
        choices=("local", "global", "isomorphic", "sensitivity"),
        help="how layers compete; sensitivity (default for a share of the cost): by what the output loses, measured on "
        "a quarter of the images; local (default for --pruning-ratio): the same share of each",
    )
    group.add_argument("--round-to", type=positive_int, metavar="N", help="widths become multiples of this")
    group.add_argument(
        "--compensate",
        choices=("auto", "least_squares", "representative", "refit", "none"),
        help="what the remaining layers get; refit (default with a target): they are solved again one by one",
    )
    group.add_argument(
        "--reestimate-bn",
        action=argparse.BooleanOptionalAction,
        help="correct running statistics of batch normalization on the images",
    )
    group.add_argument("--steps", type=positive_int, metavar="N", help="number of steps to the target")
    group.add_argument("--no-verify", action="store_true", help="do not check the result against the original")
    group.add_argument(
        "--on-wrong-removal",
        choices=("keep", "error"),
        help="where channels of a group cannot be removed rightly: keep them all, with a note, or fail (default: keep)",
    )
    group.add_argument(
        "--max-trace-seconds",
        type=above_zero,
        metavar="S",
        help="keep layers whose coupled group is not collected in this time (default: 60 for all layers together)",
    )
    group.add_argument(
        "--max-memory",
        type=memory_limit,
        metavar="M",
        help="limit for the sums of similarities: bytes, or a share of the device's memory such as 0.1; more passes "
        "over the images, and no similarity in the report",
    )
    group.add_argument("--no-latency", action="store_true", help="do not time the model before and after")


def _add_recovery_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--recover",
        type=above_zero,
        metavar="EPOCHS",
        help="then train it to give the original's outputs, without labels, on all images of --data for this long",
    )


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--out",
        type=safetensors_file,
        metavar="FILE",
        help="the pruned model, as .safetensors; required without --dry-run",
    )
    group.add_argument("--report", type=Path, metavar="FILE", help="an HTML page of what was removed")
    group.add_argument("--dry-run", action="store_true", help="report what would be removed, and save no model")
    group.add_argument("--quiet", action="store_true", help="print only the report")
    group.add_argument("--traceback", action="store_true", help="print the traceback of an error")


def own_version() -> str:
    """The version of this package."""
    try:
        return version("foad-plugins")
    except PackageNotFoundError:
        return "(not installed)"
