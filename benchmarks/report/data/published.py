"""Results of papers, shown beside ours and never ranked with them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, TypeAdapter

from ...suites.schema import Conditions


class PublishedResult(BaseModel):
    """What a paper reports of its method, in percent as printed there; None where it reports nothing.

    Attributes:
        method: its name.
        accuracy: after pruning and training.
        accuracy_change: the difference to the paper's own base model, in points.
        params_reduction: share of the parameters that was removed.
        flops_reduction: share of the FLOPs that was removed, as the paper counts them.
        speedup: FLOPs before over after, where the paper gives that instead.
        source: table and paper.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    accuracy: float | None = None
    accuracy_change: float | None = None
    params_reduction: float | None = None
    flops_reduction: float | None = None
    speedup: str | None = None
    source: str


class PublishedNetwork(BaseModel):
    """Results on one network and data set.

    Attributes:
        network: both in words.
        measure: what accuracy means.
        models: names of the harness's models that are this network.
        data: patterns for the name and settings, as JSON, of its data sets.
        results: by method.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str
    measure: str
    models: tuple[str, ...]
    data: tuple[str, ...]
    results: tuple[PublishedResult, ...]


@cache
def published_networks() -> tuple[PublishedNetwork, ...]:
    """All of them, from the data file beside this module."""
    text = (files(__package__) / "published.json").read_text(encoding="utf-8")
    return TypeAdapter(tuple[PublishedNetwork, ...]).validate_json(text)


def published(conditions: Conditions) -> PublishedNetwork | None:
    """What papers report on the network and data of these conditions; None for nothing."""
    data = conditions.dataset.model_dump_json()
    for network in published_networks():
        if conditions.model.name in network.models and any(fnmatchcase(data, pattern) for pattern in network.data):
            return network
    return None
