"""Networks of torchvision, timm, transformers and ultralytics, each pruned by one call with no names given."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..common import read_lines
from . import target_trial
from .catalog import LIBRARIES, catalog
from .targets_page import write_targets

# On a machine with other work a process has to wait for the processor.
_WAIT = 10
# A new process for each network that has imported the libraries already.
_PROCESSES = multiprocessing.get_context("forkserver")


def main() -> None:
    """Prune every network that has no line in the file yet, and write the page from all lines."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("networks", nargs="*", help="LIBRARY/NAME, or a library; all if none is given")
    parser.add_argument("--seconds", type=float, default=200, help="most processor time of one network")
    parser.add_argument("--memory", type=float, default=10, help="most memory of one network, in GiB")
    parser.add_argument("--options", default="{}", help="of prune, as JSON")
    parser.add_argument("--lines", type=Path, default=Path("docs/measurements/networks.jsonl"), help="results")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/measurements/networks.md"), help="Markdown page to write"
    )
    parser.add_argument("--page-only", action="store_true", help="only write the page")
    options = parser.parse_args()
    if not options.page_only:
        sweep(_chosen(options.networks), options.lines, options.seconds, options.memory, json.loads(options.options))
    write_targets(read_lines(options.lines, "network"), options.out)


def _chosen(names: list[str]) -> list[str]:
    known = catalog()
    return [key for key in known if not names or key in names or key.split("/")[0] in names]


def sweep(networks: list[str], lines: Path, seconds: float, memory: float, options: dict[str, Any]) -> None:
    """Add a line to a file for every network that has none with the same versions; one after another."""
    _PROCESSES.set_forkserver_preload([target_trial.__name__, *LIBRARIES])
    versions = {name: _version(name) for name in ("torch", "torch-pruning", *LIBRARIES)}
    done = {line["network"] for line in read_lines(lines, "network")}
    for number, name in enumerate(networks, 1):
        if name in done:
            continue
        result = trial(name, seconds, memory, options)
        with lines.open("a") as file:
            file.write(json.dumps({"network": name, **result, "versions": versions}) + "\n")
        print(f"{number}/{len(networks)} {name}: {result.get('flops', result.get('error'))}", flush=True)


def trial(name: str, seconds: float, memory: float, options: dict[str, Any]) -> dict[str, Any]:
    """One network in its own process, on one thread.

    Args:
        name: the network's key.
        seconds: of the processor, after which it is stopped.
        memory: most memory of its own, in GiB.
        options: of ``prune``.
    """
    receiver, sender = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(
        target=target_trial.send_result, args=(sender, name, options, seconds, memory), daemon=True
    )
    process.start()
    sender.close()
    try:
        if not receiver.poll(_WAIT * seconds):
            return {"stopped": f"after waiting {_WAIT * seconds:g} seconds", "seconds": seconds}
        result = receiver.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGXCPU:
            return {"stopped": f"after {seconds:g} seconds", "seconds": seconds}
        return {"stopped": f"exit status {process.exitcode}"}
    finally:
        process.kill()
        process.join()
    assert isinstance(result, dict)
    return result


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
