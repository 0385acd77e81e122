"""One run, one record: its inputs, its outcome, and a name made from the inputs."""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..criteria import CriterionSpec
from ..datasets.evaluation import Evaluation, Stage
from ..files import hash_json
from ..suites.schema import Conditions, Kind, Ranking
from ..training.recipe import Epoch
from .environment import Environment, Versions

SCHEMA_VERSION: Final = 3
READABLE_VERSIONS: Final = (1, 2, 3)
"""Version 2 added fields; their defaults are what was the case before there was a choice. Version 3 put the target into
a field of its own and added more; see :func:`upgraded`."""

FLOPS_UNIT = "multiply-adds of one image, counted by fvcore (one multiply-add is one FLOP)"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Setup(_Frozen):
    """What two records must share to be in one table.

    Attributes:
        suite: name of the suite.
        conditions: data, model, recipes and target.
        data_hash: SHA-256 of the images and labels.
        weights_hash: SHA-256 of the file of base weights; None where base models are trained.
        pruner: what found the widths: ``"prune"`` is :func:`foad_plugins.prune`, ``"one ratio"`` a search for the one
            pruning ratio of Torch-Pruning that came nearest to the target, as in version 1.
        kind: what the records are for, as in the suite.
        ranking: how channels compete; ``"local"`` ranks within each group.
        reference: title of the criterion that tables compare the others with; None for none.
        device: kind of device, ``"cpu"`` or ``"cuda"``.
        devices: how many trained together.
        precision: of training, in Lightning Fabric's words.
        cuda_graphs: whether steps of training were replayed from a capture.
        versions: of the libraries that can change a number.
    """

    suite: str
    conditions: Conditions
    data_hash: str
    weights_hash: str | None = None
    pruner: Literal["one ratio", "prune"] = "one ratio"
    kind: Kind = "comparison"
    ranking: Ranking = "local"
    reference: str | None = None
    device: str = "cpu"
    devices: int = Field(default=1, ge=1)
    precision: str = "32-true"
    cuda_graphs: bool = False
    versions: Versions

    @property
    def key(self) -> str:
        """A hash of all fields that differ from their defaults, so that a new field does not change it.

        The version of this package is not part of it: the method number is.
        """
        return self.key_without()

    def key_without(self, *conditions: str) -> str:
        """The key that setups share which differ in nothing but these conditions."""
        content = self.keyed()
        content["conditions"] = {key: value for key, value in content["conditions"].items() if key not in conditions}
        return hash_json(content)

    def keyed(self) -> dict[str, Any]:
        """What enters the key."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"versions": self.versions.keyed()}


class RunInputs(_Frozen):
    """All that decides the outcome of a run: the setup, the criterion and the seed."""

    setup: Setup
    criterion: CriterionSpec
    seed: int = Field(ge=0)

    @property
    def base_seed(self) -> int:
        """The seed that its base model is trained with, if it is trained."""
        shared = self.setup.conditions.base_seed
        return self.seed if shared is None else shared

    @property
    def key(self) -> str:
        """A hash of all inputs, as for :class:`Setup`: runs with one key are repetitions of each other."""
        return hash_json(self.model_dump(mode="json", exclude_defaults=True) | {"setup": self.setup.keyed()})

    @property
    def file_name(self) -> str:
        """Name of the record's file: readable, and made unique by a hash."""
        title = "".join(c if c.isalnum() else "-" for c in self.criterion.title)
        return f"{title}-seed{self.seed}-{self.key[:16]}.json"


class BestEpoch(_Frozen):
    """The epoch of fine-tuning with the highest accuracy on the test images.

    Chosen on the images it is measured on, and therefore too good; papers often report it all the same.

    Attributes:
        epoch: counted from 1.
        accuracy: in [0, 1].
    """

    epoch: int = Field(ge=1)
    accuracy: float = Field(ge=0, le=1)


class Accuracies(_Frozen):
    """Fractions of the test images classified correctly, or of their pairs decided correctly, in [0, 1].

    Attributes:
        base: before pruning.
        one_shot: after pruning and the criterion's compensation, nothing trained since, the statistics of batch
            normalization unchanged.
        one_shot_bn: the same with these statistics adjusted; None if they are not.
        fine_tuned: after the last epoch of fine-tuning; None if the suite has none.
        best_epoch: of fine-tuning; None if no epoch but the last was measured.
    """

    base: float = Field(ge=0, le=1)
    one_shot: float = Field(ge=0, le=1)
    one_shot_bn: float | None = Field(default=None, ge=0, le=1)
    fine_tuned: float | None = Field(ge=0, le=1)
    best_epoch: BestEpoch | None = None


class Latency(_Frozen):
    """Median seconds of a call in eval mode, after a warm-up, measured before and after pruning, interleaved.

    Attributes:
        batch_size: images in a call.
        threads: of torch on the CPU.
        before: of the base model.
        after: of the pruned model.
    """

    batch_size: int = Field(ge=1)
    threads: int = Field(ge=1)
    before: float = Field(gt=0)
    after: float = Field(gt=0)


class Cost(_Frozen):
    """Size of a network: parameters, FLOPs of one image, and output channels by layer."""

    params: int = Field(ge=1, lt=2**63)
    flops: int = Field(ge=1, lt=2**63)
    widths: dict[str, int]


class RunRecord(_Frozen):
    """The outcome of one run, complete enough to judge and repeat it.

    Attributes:
        schema_version: of this layout; records of versions that are not known here are not read.
        inputs: of the run.
        environment: circumstances that should not matter, kept in case they do.
        created: when the run ended, in UTC.
        base_weights_hash: SHA-256 of the base model's state dict.
        train_images: number of training images.
        test_images: number of test images, or of their pairs, in every accuracy.
        accuracy: base, one-shot and fine-tuned.
        evaluations: all that was found at each stage, for tasks that give more than an accuracy; else empty.
        epochs: of fine-tuning, one by one; empty where they were not kept.
        before: cost of the base model.
        after: cost of the pruned model.
        latency: one for each batch size that was timed.
        removed: removed output channels, by the layer at the root of each coupled group, in the base model's numbers;
            None where they were not kept.
        flops_unit: unit of every FLOPs figure here.
        flops_target: what the pruned model's FLOPs should have been; None where FLOPs were no target.
        pruning_ratio: the share of the channels removed to get there, over all coupled groups; in version 1 the ratio
            asked of every group.
        seconds_to_score: wall-clock time of the criterion, its calibration included.
        peak_bytes_to_score: the most memory that the criterion took beyond what was in use before, in bytes: on a CPU
            the growth of the process as seen from time to time, on a GPU that of torch's allocations. None if not
            measured.
        seconds_total: wall-clock time of pruning, evaluation and fine-tuning.
    """

    schema_version: Literal[3] = SCHEMA_VERSION
    inputs: RunInputs
    environment: Environment
    created: datetime
    base_weights_hash: str
    train_images: int = Field(ge=1)
    test_images: int = Field(ge=1)
    accuracy: Accuracies
    evaluations: dict[Stage, Evaluation] = {}
    epochs: tuple[Epoch, ...] = ()
    before: Cost
    after: Cost
    latency: tuple[Latency, ...] = ()
    removed: dict[str, tuple[int, ...]] | None = None
    flops_unit: str = FLOPS_UNIT
    flops_target: float | None = Field(default=None, gt=0)
    pruning_ratio: float = Field(ge=0, lt=1)
    seconds_to_score: float = Field(ge=0)
    peak_bytes_to_score: int | None = Field(default=None, ge=0)
    seconds_total: float = Field(ge=0)


class FailureRecord(_Frozen):
    """A run that ended without a result, and why; the next call of the suite tries it again.

    Attributes:
        schema_version: as for :class:`RunRecord`.
        inputs: of the run.
        environment: circumstances.
        created: when it ended, in UTC.
        reason: the error's message, in one line.
        details: the traceback.
    """

    schema_version: Literal[3] = SCHEMA_VERSION
    inputs: RunInputs
    environment: Environment
    created: datetime
    reason: str
    details: str


def upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """A record of an older version in today's layout; one of today's unchanged.

    Up to version 2 the only target was a share of FLOPs, which stood among the conditions.
    """
    if content.get("schema_version") not in READABLE_VERSIONS[:-1]:
        return content
    content = copy.deepcopy(content) | {"schema_version": SCHEMA_VERSION}
    conditions = content
    for step in ("inputs", "setup", "conditions"):
        conditions = conditions.get(step, {}) if isinstance(conditions, dict) else {}
    if isinstance(conditions, dict) and "flops_reduction" in conditions:
        conditions["target"] = {"flops_reduction": conditions.pop("flops_reduction")}
        conditions["latency_batches"] = []
    return content
