"""What Torch-Pruning prunes with its own L1 importance, and with FOAD by the same call, over torchvision's models."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..common import read_lines
from . import trial as coverage_trial
from .models import OTHERS, classifiers
from .page import passed, write_coverage
from .trial import IMPORTANCES


def main() -> None:
    """Try every model that has no line in the file yet, and write docs/measurements/coverage.md from all lines."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("models", nargs="*", help="of torchvision's; all classifiers and some others if none is given")
    parser.add_argument("--seconds", type=float, default=600, help="most time of one trial")
    parser.add_argument("--memory", type=float, default=10, help="most memory of one trial, in GiB")
    parser.add_argument("--leave-out", metavar="REASON", help="do not try the models named, and write down why")
    parser.add_argument(
        "--lines", type=Path, default=Path("docs/measurements/coverage.jsonl"), help="results, one a line"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("docs/measurements/coverage.md"), help="Markdown page to write"
    )
    options = parser.parse_args()
    models = options.models or [*classifiers(), *OTHERS]
    if options.leave_out:
        if not options.models:
            parser.error("--leave-out needs the models by name")
        leave_out(models, options.lines, options.leave_out)
    else:
        sweep(models, options.lines, options.seconds, options.memory)
    write_coverage(read_lines(options.lines, "model"), options.out)


def sweep(models: list[str], lines: Path, seconds: float, memory: float) -> None:
    """Add a line to a file for every model that has none with the same versions and limits; one after another."""
    limits = {"seconds": seconds, "memory": memory}
    versions = {name: version(name) for name in ("torch", "torchvision", "torch-pruning")}
    done = {line["model"] for line in read_lines(lines, "model") if line.get("versions") == versions}
    for number, name in enumerate(models, 1):
        if name in done:
            continue
        found = {kind: trial(name, kind, seconds, memory) for kind in IMPORTANCES}
        with lines.open("a") as file:
            file.write(json.dumps({"model": name, **found, "limits": limits, "versions": versions}) + "\n")
        verdicts = ", ".join(f"{kind} {'yes' if passed(found[kind]) else 'no'}" for kind in found)
        print(f"{number}/{len(models)} {name}: {verdicts}", flush=True)


def leave_out(models: list[str], lines: Path, reason: str) -> None:
    """Write down why some models have not been tried; a later sweep tries them all the same."""
    with lines.open("a") as file:
        file.writelines(json.dumps({"model": name, "left_out": reason}) + "\n" for name in models)


def trial(name: str, importance: str, seconds: float, memory: float) -> dict[str, Any]:
    """One network with one importance in its own process, on one thread; as :func:`coverage_trial.run_trial`.

    Args:
        name: the model.
        importance: a key of ``IMPORTANCES``.
        seconds: after so long it is stopped.
        memory: most memory of a trial, in GiB.
    """
    command = [sys.executable, "-m", coverage_trial.__name__, name, importance, "--memory", str(memory)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment)
    except subprocess.TimeoutExpired:
        return {"checks": {"pruned": f"stopped after {seconds:g} seconds"}, "seconds": seconds}
    try:
        result = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {"checks": {"pruned": f"exit status {done.returncode}: {last[:300]}"}}
    assert isinstance(result, dict)
    return result


if __name__ == "__main__":
    main()
