"""One run, one record: what went in, what came out, and a name made from what went in."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from .criteria import CriterionSpec
from .environment import Environment, Versions
from .files import hash_json
from .suite import Conditions

__all__ = [
    "FLOPS_UNIT",
    "READABLE_VERSIONS",
    "SCHEMA_VERSION",
    "Accuracies",
    "Cost",
    "RunInputs",
    "RunRecord",
    "Setup",
]

SCHEMA_VERSION: Final = 2
READABLE_VERSIONS: Final = (1, 2)
"""Version 2 added fields; their defaults say what was the case before there was a choice."""

FLOPS_UNIT = "multiply-adds of one image, counted by fvcore (one multiply-add is one FLOP)"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Setup(_Frozen):
    """What two records must share to stand in one table.

    Attributes:
        suite: name of the suite.
        conditions: data, model, recipes and target.
        data_hash: SHA-256 of the images and labels.
        weights_hash: SHA-256 of the file of base weights; None where base models are trained.
        pruner: what found the widths: ``"prune"`` is :func:`foad_plugins.prune`, ``"one ratio"`` a search for the one
            pruning ratio of Torch-Pruning that came nearest to the target, as in version 1.
        ranking: how channels compete; ``"local"`` ranks within each group.
        reference: title of the criterion that tables compare the others with; None for none.
        device: kind of device, ``"cpu"``.
        versions: of the libraries that can change a number.
    """

    suite: str
    conditions: Conditions
    data_hash: str
    weights_hash: str | None = None
    pruner: Literal["one ratio", "prune"] = "one ratio"
    ranking: Literal["local"] = "local"
    reference: str | None = None
    device: str = "cpu"
    versions: Versions

    @property
    def key(self) -> str:
        """A hash of all fields."""
        return hash_json(self.model_dump(mode="json"))


class RunInputs(_Frozen):
    """All that decides a run's outcome: the setup, the criterion and the seed."""

    setup: Setup
    criterion: CriterionSpec
    seed: int = Field(ge=0)

    @property
    def key(self) -> str:
        """A hash of all inputs: runs with one key are repetitions of each other."""
        return hash_json(self.model_dump(mode="json"))

    @property
    def file_name(self) -> str:
        """Name of the record's file: readable in front, unambiguous by the hash behind."""
        title = "".join(c if c.isalnum() else "-" for c in self.criterion.title)
        return f"{title}-seed{self.seed}-{self.key[:16]}.json"


class Accuracies(_Frozen):
    """Fractions of the test images classified right, in [0, 1].

    Attributes:
        base: before pruning.
        one_shot: after pruning and the entry's compensation, nothing trained since, the statistics of batch
            normalisation as they were.
        one_shot_bn: the same with these statistics moved; None if the entry does not move them.
        fine_tuned: after the last epoch of fine-tuning; None if the suite has none.
    """

    base: float = Field(ge=0, le=1)
    one_shot: float = Field(ge=0, le=1)
    one_shot_bn: float | None = Field(default=None, ge=0, le=1)
    fine_tuned: float | None = Field(ge=0, le=1)


class Cost(_Frozen):
    """Size of a network: parameters, FLOPs of one image, and output channels by layer."""

    params: int = Field(ge=0)
    flops: int = Field(ge=0)
    widths: dict[str, int]


class RunRecord(_Frozen):
    """The outcome of one run, complete enough to judge and repeat it.

    Attributes:
        schema_version: of this layout; records of versions that are not known here are not read.
        inputs: what went in.
        environment: circumstances that should not matter, kept in case they do.
        created: when the run ended, in UTC.
        base_weights_hash: SHA-256 of the base model's state dict.
        train_images: number of training images.
        test_images: number of test images behind every accuracy.
        accuracy: base, one-shot and fine-tuned.
        before: cost of the base model.
        after: cost of the pruned model.
        flops_unit: unit of every FLOPs figure here.
        flops_target: what the pruned model's FLOPs should have been.
        pruning_ratio: the share of the channels removed to get there, over all coupled groups; in version 1 the ratio
            asked of every group.
        seconds_to_score: wall-clock time of the criterion, its calibration included.
        seconds_total: wall-clock time of pruning, evaluation and fine-tuning.
    """

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    inputs: RunInputs
    environment: Environment
    created: datetime
    base_weights_hash: str
    train_images: int = Field(ge=1)
    test_images: int = Field(ge=1)
    accuracy: Accuracies
    before: Cost
    after: Cost
    flops_unit: str = FLOPS_UNIT
    flops_target: float = Field(gt=0)
    pruning_ratio: float = Field(ge=0, lt=1)
    seconds_to_score: float = Field(ge=0)
    seconds_total: float = Field(ge=0)
