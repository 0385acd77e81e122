"""``foad prune``."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ...recovery.training.report import RecoveryReport
from ...report.prune_report import REPORT_PACKAGES, PruneReport
from ...utils.devices import usable_device
from ...utils.extras import missing_extra
from .arguments import TARGETS, own_version
from .errors import CommandError, UsageError, in_one_line
from .images import calibration_loader
from .models import build_model, image_channels, torchvision_name
from .outputs import check_outputs, write_or_rescue
from .preprocessing import preprocessing_for
from .recovery import Recovery, plan_recovery
from .weights import find_weights, load_weights

__all__ = ["run_prune"]

_NEEDED = {"torchvision": "torchvision", "PIL": "pillow"}
_FOR_TARGETS = ("ranking", "round_to", "max_pruning_ratio")
_METHOD = ("compensate", "reestimate_bn", "steps", "on_wrong_removal", "max_trace_seconds", "max_memory")
_OTHER_NAMES = {"ignored_layers": "ignore", "pruning_ratio_dict": "layer-ratio"}
# Those without an underscore are words as well.
_PARAMETERS = re.compile(rf"\b({'|'.join(name for name in (*_OTHER_NAMES, *_FOR_TARGETS, *_METHOD) if '_' in name)})\b")


def run_prune(arguments: argparse.Namespace) -> int:
    """Prune a model, write it and its report, and print the report."""
    missing = missing_extra("cli", _NEEDED)
    if missing is None and arguments.report is not None:
        missing = missing_extra("cli,report", REPORT_PACKAGES)
    if missing is not None:
        raise CommandError(missing)
    settings = _settings(arguments)
    name = torchvision_name(arguments.model)
    weights = None if arguments.as_built else find_weights(arguments.weights, name)
    file = weights if isinstance(weights, Path) else None
    _check_outputs(arguments, file)
    preprocessing = preprocessing_for(name, weights if file is None else None).changed(
        arguments.size, arguments.resize, arguments.mean, arguments.std
    )
    device = _device(arguments.device)
    log = _silent if arguments.quiet else _log
    model = build_model(arguments.model, None if file else weights, arguments.num_classes, progress=not arguments.quiet)
    preprocessing = replace(preprocessing, channels=arguments.channels or image_channels(model))
    loader, images = calibration_loader(
        arguments.data, arguments.images, arguments.batch_size, preprocessing, arguments.array
    )
    if file is not None:
        log(f"weights: {load_weights(model, file)}")
    elif arguments.as_built and name is not None:
        log("the weights are random: use the result for a first try only")
    log(f"model: {arguments.model}, on {device}")
    log(f"images: {images}")

    from ..prune.api import prune

    recovery = plan_recovery(arguments, model.to(device), preprocessing, log)
    try:
        report = prune(model, loader, progress=not arguments.quiet, **settings)
    except (ValueError, RuntimeError) as error:
        raise CommandError(_PARAMETERS.sub(_option, in_one_line(error))) from error
    recovered, problems = _recovered(recovery, model)
    problems += _write(arguments, model, report, log)
    print(report)
    if recovered is not None:
        print(recovered)
    if problems:
        raise CommandError("; ".join(problems))
    return 0


def _recovered(recovery: Recovery | None, model: torch.nn.Module) -> tuple[RecoveryReport | None, list[str]]:
    """Train the pruned model if asked for; an error does not lose it, and is returned in words."""
    try:
        return (None if recovery is None else recovery(model)), []
    except Exception as error:
        return None, [f"--recover: {in_one_line(error)}"]


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of :func:`~foad_plugins.prune` that the user gave; the others have its defaults."""
    names = (*TARGETS, "neighbors", "threshold", "order", *_FOR_TARGETS, *_METHOD)
    settings = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    target = [name for name in TARGETS if name in settings]
    rule = [name for name in ("neighbors", "threshold") if name in settings]
    if len(target) > 1 and target != ["flops", "params"]:
        raise UsageError(f"--{_dashed(target[0])} and --{_dashed(target[1])} cannot both be met: omit one of them")
    if target and rule:
        kept, other = _dashed(rule[0]), _dashed(target[0])
        raise UsageError(f"--{kept} is an option of the published rule, which has no target: omit it or --{other}")
    if arguments.layer_ratio:
        settings["pruning_ratio_dict"] = dict(arguments.layer_ratio)
    alone = [name for name in (*_FOR_TARGETS, "pruning_ratio_dict") if name in settings]
    if alone and not target and (rule or "pruning_ratio_dict" not in settings):
        option = "layer-ratio" if alone[0] == "pruning_ratio_dict" else _dashed(alone[0])
        raise UsageError(f"--{option} needs a target: --flops, --params, --latency or --pruning-ratio")
    if settings.get("compensate") == "none":
        settings["compensate"] = None
    if arguments.ignore:
        settings["ignored_layers"] = tuple(arguments.ignore)
    return settings | {
        "verify": not arguments.no_verify,
        "measure_latency": not arguments.no_latency,
        "dry_run": arguments.dry_run,
    }


def _check_outputs(arguments: argparse.Namespace, weights: Path | None) -> None:
    if arguments.out is None and not arguments.dry_run:
        raise UsageError("--out is needed: the file for the pruned model (or --dry-run)")
    outputs = {"--out": arguments.out, "--report": arguments.report}
    inputs = [arguments.data, *([weights] if weights is not None else [])]
    check_outputs({option: path for option, path in outputs.items() if path is not None}, inputs)


def _write(
    arguments: argparse.Namespace, model: torch.nn.Module, report: PruneReport, log: Callable[[str], None]
) -> list[str]:
    """Write the model and the report, each even if the other fails; returns the error messages."""
    from ..checkpoint.api import save_pruned

    writers = []
    if arguments.out is not None and not arguments.dry_run:
        writers.append((lambda path: save_pruned(model, path), arguments.out, "pruned model"))
    if arguments.report is not None:
        about = _about(arguments)
        writers.append((lambda path: report.to_html(path, about=about), arguments.report, "report"))
    problems = []
    for write, path, what in writers:
        try:
            write_or_rescue(write, path)
        except CommandError as error:
            problems.append(str(error))
        else:
            log(f"{what}: {path}")
    return problems


def _about(arguments: argparse.Namespace) -> dict[str, str]:
    """Where a report comes from, to be shown in it."""
    versions = {"foad-plugins": own_version()} | {name: version(name) for name in ("torch", "torch-pruning")}
    return {
        "Model": f"{arguments.model}, weights {arguments.weights or 'as built'}",
        "Data": f"{arguments.images} images of {arguments.data}",
        "Command": shlex.join(["foad", *arguments.words]),
        "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "Date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise UsageError(f"--device {name!r} is no device of torch, such as cpu, cuda, cuda:1, mps") from error
    try:
        return usable_device(device)
    except ValueError as error:
        raise CommandError(f"--{error}") from error


def _option(match: re.Match[str]) -> str:
    """The option for a parameter of ``prune`` that its error names."""
    return f"--{_OTHER_NAMES.get(match[0], _dashed(match[0]))}"


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _log(text: str) -> None:
    print(text, file=sys.stderr)


def _silent(text: str) -> None:
    pass
