"""One training on several devices: a process for each, and the result copied back."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ..errors import BenchmarkError
from .recipe import Epoch

Work = Callable[[Fabric, nn.Module], list[Epoch]]


def in_processes(fabric: Fabric, work: Work, model: nn.Module, epochs: int, error: type[BenchmarkError]) -> list[Epoch]:
    """Let every process of ``fabric`` train a copy of the model; the first one's weights are copied back into it.

    Args:
        fabric: not launched yet, with a strategy that starts processes.
        work: trains a model in place and returns the epochs, the same in all processes; can be pickled.
        model: where the weights arrive.
        epochs: how many ``work`` returns at most.
        error: what ``work`` may raise, in all processes at once, and this function raises again.
    """
    # Results are passed in shared memory: a queue can only pass little, since its reader waits for the children's
    # end while they wait for it to read.
    weights = {name: tensor.detach().cpu().clone().share_memory_() for name, tensor in model.state_dict().items()}
    measured = torch.full((epochs, len(Epoch.model_fields)), torch.nan, dtype=torch.float64).share_memory_()
    launch: Any = fabric.launch
    with _ports_forgotten():
        # Fabric gives each process its own model only where it is an argument.
        returned = _Returned(work, error, torch.get_num_threads())
        reason = launch(returned, copy.deepcopy(model).cpu(), weights, measured)
    if reason is not None:
        raise error(reason)
    model.load_state_dict(weights)
    rows = [row for row in measured.tolist() if not math.isnan(row[0])]
    # None is passed as NaN.
    values = [[None if math.isnan(value) else value for value in row] for row in rows]
    return [Epoch.model_validate(dict(zip(Epoch.model_fields, row, strict=True))) for row in values]


class _Returned:
    """Work whose results are written to shared memory and whose error is returned as its message."""

    def __init__(self, work: Work, error: type[BenchmarkError], threads: int) -> None:
        self._work = work
        self._error = error
        self._threads = threads

    def __call__(self, fabric: Fabric, model: nn.Module, weights: dict[str, Tensor], measured: Tensor) -> str | None:
        torch.set_num_threads(self._threads)
        try:
            epochs = self._work(fabric, model)
        except self._error as error:
            return str(error)
        if fabric.is_global_zero:
            for name, tensor in model.state_dict().items():
                weights[name].copy_(tensor)
            for row, epoch in zip(measured, epochs, strict=False):
                values = [math.nan if value is None else value for value in epoch.model_dump().values()]
                row.copy_(torch.tensor(values, dtype=torch.float64))
        return None


@contextmanager
def _ports_forgotten() -> Iterator[None]:
    """Fabric leaves the port of its processes in the environment, where the next training would take it again."""
    before = os.environ.get("MASTER_PORT")
    try:
        yield
    finally:
        os.environ.pop("MASTER_PORT", None)
        if before is not None:
            os.environ["MASTER_PORT"] = before
