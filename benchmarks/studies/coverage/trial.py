"""One network, pruned once and checked, in its own process."""

from __future__ import annotations

import argparse
import json
import pickle
import random
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from torch import Tensor, nn

from .... import FOADImportance, load_pruned, save_pruned
from ...files import hash_tensors
from .models import Case, attention_heads, case_of, flat, settle

RATIO = 0.3
IMPORTANCES: dict[str, Callable[[Tensor], tp.importance.Importance]] = {
    "l1": lambda images: tp.importance.MagnitudeImportance(p=1),
    "foad": FOADImportance,
}
CHECKS = ("pruned", "forward", "backward", "saved", "untouched")
"""In the order in which they are shown; ``untouched`` is checked for FOAD only."""


def run_trial(case: Case, importance: str) -> dict[str, Any]:
    """Prune a network and check what is left.

    Args:
        case: the network.
        importance: a key of ``IMPORTANCES``.

    Returns:
        ``checks`` by name: true, or the error as text. A check that depends on another may be missing.
        ``params_before`` and ``params_after``; ``unscored``, how many groups got no score; ``seconds``.
    """
    start = time.perf_counter()
    found: dict[str, Any] = {"checks": {}}
    with suppress(_Failed):
        _run(case, importance, found)
    found["seconds"] = round(time.perf_counter() - start, 1)
    return found


class _Failed(Exception):  # noqa: N818 - it ends a trial, and is the trial's result
    """The rest of the checks make no sense."""


@contextmanager
def _check(found: dict[str, Any], name: str, *, last: bool = False) -> Iterator[None]:
    """Record the outcome of the body; ``last`` ends the trial if it fails."""
    try:
        yield
        found["checks"].setdefault(name, True)
    except Exception as error:
        found["checks"][name] = f"{type(error).__name__}: {error}"[:300].split("\n")[0]
        if last:
            raise _Failed from None


def _run(case: Case, kind: str, found: dict[str, Any]) -> None:
    model, images = case.build(), case.images()
    found["params_before"] = sum(parameter.numel() for parameter in model.parameters())
    with torch.no_grad():
        expected = _form(model(images))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with _check(found, "pruned", last=True):
            pruner = tp.pruner.MetaPruner(
                model,
                (images[:1],),
                importance=IMPORTANCES[kind](images),
                pruning_ratio=RATIO,
                ignored_layers=case.heads(model),
                in_channel_groups={},
                out_channel_groups=attention_heads(model),
                num_heads={},
            )
            if kind == "foad":
                _calibrate_once(model, pruner, found)
            pruner.step()
            settle(model)
            found["params_after"] = sum(parameter.numel() for parameter in model.parameters())
            if found["params_after"] >= found["params_before"]:
                raise RuntimeError("no parameter less than before")
    found["unscored"] = sum(message.category.__name__ == "UnscoredGroupWarning" for message in heard)
    output: Any = None
    with _check(found, "forward", last=True), torch.no_grad():
        output = model(images)
        if _form(output) != expected:
            raise RuntimeError("the form of the output changed")
    with _check(found, "saved"):
        _save_and_load(case, model, images, output)
    del pruner
    with _check(found, "backward"):
        case.loss(model.train(), images).backward()
        grads = [parameter.grad is not None for parameter in model.parameters()]
        if not all(grads):
            raise RuntimeError(f"{len(grads) - sum(grads)} of {len(grads)} parameters got no gradient")


def _calibrate_once(model: nn.Module, pruner: Any, found: dict[str, Any]) -> None:
    """Score one group, which calibrates for all, and see that it leaves no trace in a model full of them."""
    flags = [module.training for module in model.modules()]
    for number, module in enumerate(model.modules()):
        module.training = number % 3 > 0
    some = [parameter for parameter in model.parameters() if parameter.numel() < 1e5]
    for parameter in some:
        parameter.grad = torch.ones_like(parameter)
    before = state_of(model)
    groups = pruner.DG.get_all_groups(ignored_layers=pruner.ignored_layers, root_module_types=pruner.root_module_types)
    pruner.importance(next(iter(groups)))
    after = state_of(model)
    changed = [name for name in before if before[name] != after[name]]
    found["checks"]["untouched"] = f"changed: {', '.join(changed)}" if changed else True
    for parameter in some:
        parameter.grad = None
    for module, training in zip(model.modules(), flags, strict=True):
        module.training = training


def state_of(model: nn.Module) -> dict[str, object]:
    """What a calibration could leave changed, in the model and in the generators of random numbers."""
    modules, named = list(model.modules()), dict(model.named_parameters())
    return {
        "parameters": (hash_tensors(named), [id(each) for each in named.values()]),
        "buffers": hash_tensors(dict(model.named_buffers())),
        "gradients": hash_tensors({name: each.grad for name, each in named.items() if each.grad is not None}),
        "flags": [module.training for module in modules],
        "frozen": [each.requires_grad for each in named.values()],
        "attributes": [sorted(vars(module)) for module in modules],
        "hooks": [[list(v) for name, v in vars(module).items() if "_hooks" in name and v] for module in modules],
        "random": pickle.dumps((torch.get_rng_state().numpy(), np.random.get_state(), random.getstate())),
    }


def _save_and_load(case: Case, model: nn.Module, images: Tensor, output: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pruned.safetensors"
        save_pruned(model, file, original=case.build)
        again = load_pruned(case.build, file)
    settle(again)
    with torch.no_grad():
        if not torch.equal(flat(again(images)), flat(output)):
            raise RuntimeError("the loaded network gives another output")


def _form(output: Any) -> Any:
    """Structure and shapes of an output; of detections their number may change, so only their names."""
    if isinstance(output, Tensor):
        return tuple(output.shape)
    if isinstance(output, dict):
        named = "boxes" in output
        return {name: None if named else _form(value) for name, value in output.items()}
    return [_form(value) for value in output]


def main() -> None:
    """Run one trial in this process and print its result as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model")
    parser.add_argument("importance", choices=IMPORTANCES)
    parser.add_argument("--memory", type=float, required=True, help="most memory of the process's own, in GiB")
    options = parser.parse_args()
    most = int(options.memory * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    torch.set_num_threads(1)
    # Torch-Pruning prints; standard output is for the result.
    stdout, sys.stdout = sys.stdout, sys.stderr
    result = run_trial(case_of(options.model), options.importance)
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(result), file=stdout)


if __name__ == "__main__":
    main()
