"""From a suite to its runs."""

from __future__ import annotations

from .datasets import ImageSource
from .environment import Versions
from .hardware import Hardware
from .records import RunInputs, Setup
from .suite import Suite
from .weights import WeightsFile

__all__ = ["plan"]


def plan(
    suite: Suite,
    data: ImageSource,
    versions: Versions,
    given: WeightsFile | None = None,
    hardware: Hardware | None = None,
) -> list[RunInputs]:
    """The runs of a suite, seed by seed, so that a broken-off suite leaves whole comparisons.

    Args:
        suite: what to run.
        data: its data.
        versions: of the libraries.
        given: weights of the base model, if it is not trained.
        hardware: what networks are trained on; the CPU if None.
    """
    setups = [
        Setup(
            suite=suite.name,
            kind=suite.kind,
            conditions=conditions,
            data_hash=data.hash,
            weights_hash=given.hash if given else None,
            pruner="prune",
            ranking=ranking,
            reference=suite.reference,
            versions=versions,
            **dict(hardware or Hardware()),
        )
        for conditions, ranking in suite.tables()
    ]
    return [
        RunInputs(setup=setup, criterion=entry, seed=seed)
        for seed in range(suite.seeds)
        for setup in setups
        for entry in suite.entries(setup.conditions.target)
    ]
