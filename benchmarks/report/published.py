"""Results of papers, shown beside ours and never ranked with them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, TypeAdapter

from ..suite import Conditions
from .tables import draw

__all__ = ["PublishedNetwork", "PublishedResult", "published", "published_networks", "published_table"]


class PublishedResult(BaseModel):
    """What a paper says of its method; percents, as printed there, None where it says nothing.

    Attributes:
        method: its name.
        accuracy: after pruning and training.
        accuracy_change: the difference to the paper's own base model, in points.
        params_reduction: share of the parameters that went.
        flops_reduction: share of the FLOPs that went, as the paper counts them.
        speedup: FLOPs before over after, where the paper gives that instead.
        source: where it stands.
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
        measure: what accuracy is.
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
    """All that is known, from the data file beside this module."""
    text = (files(__package__) / "published.json").read_text(encoding="utf-8")
    return TypeAdapter(tuple[PublishedNetwork, ...]).validate_json(text)


def published(conditions: Conditions) -> PublishedNetwork | None:
    """What papers report on the network and data of these conditions; None for nothing."""
    data = conditions.dataset.model_dump_json()
    for network in published_networks():
        if conditions.model.name in network.models and any(fnmatchcase(data, pattern) for pattern in network.data):
            return network
    return None


def published_table(network: PublishedNetwork, style: str = "simple") -> str:
    """The results in the order of the data file, every cell in italics in Markdown."""
    results = network.results
    columns = {
        "method": [result.method for result in results],
        f"{network.measure} (%)": [_number(result.accuracy, ".2f") for result in results],
        "change to its base (points)": [_number(result.accuracy_change, "+.2f") for result in results],
        "params (%)": [_number(result.params_reduction, ".1f", "-") for result in results],
        "FLOPs (%)": [_number(result.flops_reduction, ".1f", "-") for result in results],
        "FLOPs, before over after": [result.speedup or "" for result in results],
        "source": [result.source for result in results],
    }
    told = {name: cells for name, cells in columns.items() if any(cells)}
    rows = [list(row) for row in zip(*told.values(), strict=True)]
    if style == "github":
        rows = [[f"*{cell}*" if cell else "" for cell in row] for row in rows]
    return draw(list(told), rows, style)


def _number(value: float | None, form: str, sign: str = "") -> str:
    return "" if value is None else f"{sign}{value:{form}}"
