"""What a leaderboard contains: rows with statistics over seeds, and what the rows share."""

from __future__ import annotations

from dataclasses import dataclass

from ...criteria.spec import Rule
from ...records.environment import Environment
from ...records.schema import FailureRecord, RunRecord, Setup
from .estimates import Estimate

STAGES = ("before fine-tuning", "BN adjusted", "fine-tuned")
"""When accuracies are measured: after pruning and compensation, then with adjusted statistics of batch normalization,
then after the last epoch of fine-tuning."""

MARK = "†"
"""Follows the title of a criterion that lacks seeds."""


@dataclass(frozen=True)
class LatencyEstimate:
    """Seconds of a call before and after pruning.

    Attributes:
        batch_size: images in a call.
        threads: of torch on the CPU.
        before: of the base model.
        after: of the pruned model.
        speedup: before divided by after, run by run.
    """

    batch_size: int
    threads: int
    before: Estimate
    after: Estimate
    speedup: Estimate


@dataclass(frozen=True)
class Row:
    """Statistics of one criterion over its seeds. What some seed lacks is None or empty.

    Attributes:
        criterion: its title.
        method: the criterion's name, settings and rule as JSON, the same with and without compensation.
        compensate: how the consumers of removed channels were compensated, None for not at all.
        rule: the published rule that decided how many channels are removed; None if the target did.
        seeds: the seeds that have a record.
        missing: the seeds that other criteria of the table have or tried, and this one lacks.
        base: accuracy before pruning, in [0, 1].
        one_shot: accuracy after pruning.
        one_shot_bn: the same with adjusted statistics of batch normalization.
        fine_tuned: accuracy after the last epoch of fine-tuning.
        best_epoch: the highest accuracy of any epoch, chosen on the test images and therefore too high.
        curve: test accuracy after each epoch of fine-tuning; empty unless all seeds have equally many, all measured.
        difference: accuracy at the last stage minus that of the board's reference, seed by seed, over the seeds both
            have; None for the reference itself and if there are no such seeds.
        params: number of parameters after pruning.
        params_reduction: fraction of the parameters that was removed.
        flops: FLOPs of one image after pruning.
        flops_reduction: fraction of the FLOPs that was removed.
        base_params: mean number of parameters before pruning.
        base_flops: mean FLOPs before pruning.
        channels: how many channels there were to remove, over all coupled groups; None where they were not kept.
        channels_kept: how many of them were kept.
        widths: mean number of output channels by layer, after pruning.
        latency: by batch size, smallest first.
        seconds_to_score: wall-clock time of the criterion, calibration included.
        peak_bytes_to_score: the most memory that the criterion took.
        runs: the records that all this is computed from, by seed.
    """

    criterion: str
    method: str
    compensate: str | None
    rule: Rule | None
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    base: Estimate
    one_shot: Estimate
    one_shot_bn: Estimate | None
    fine_tuned: Estimate | None
    best_epoch: Estimate | None
    curve: tuple[Estimate, ...]
    difference: Estimate | None
    params: Estimate
    params_reduction: Estimate
    flops: Estimate
    flops_reduction: Estimate
    base_params: float
    base_flops: float
    channels: float | None
    channels_kept: Estimate | None
    widths: dict[str, float]
    latency: tuple[LatencyEstimate, ...]
    seconds_to_score: Estimate
    peak_bytes_to_score: Estimate | None
    runs: tuple[RunRecord, ...]

    @property
    def title(self) -> str:
        """The criterion's title, marked where seeds are missing."""
        return f"{self.criterion} {MARK}" if self.missing else self.criterion

    @property
    def stages(self) -> dict[str, Estimate]:
        """The accuracies after pruning that were measured, by name, in the order of the run."""
        values = (self.one_shot, self.one_shot_bn, self.fine_tuned)
        return {name: value for name, value in zip(STAGES, values, strict=True) if value is not None}

    @property
    def last_stage(self) -> str:
        """Name of the last stage that was measured."""
        return list(self.stages)[-1]

    @property
    def last(self) -> Estimate:
        """The accuracy at the last stage."""
        return self.stages[self.last_stage]


@dataclass(frozen=True)
class Leaderboard:
    """All criteria that ran under one setup.

    Rows with all seeds come first, best first: by fine-tuned accuracy, then that before fine-tuning, then title. Rows
    that lack seeds follow in the same order. Their means are over other seeds, so that they have no rank.

    Attributes:
        setup: what the rows share.
        rows: at least one.
        failures: runs that ended without a result and have none from another attempt, by title and seed.
        train_images: in the training part.
        test_images: that every accuracy is measured on.
        flops_unit: of every FLOPs figure.
        base_widths: output channels by layer before pruning.
        environments: the different circumstances under which the runs were made.
    """

    setup: Setup
    rows: tuple[Row, ...]
    failures: tuple[FailureRecord, ...]
    train_images: int
    test_images: int
    flops_unit: str
    base_widths: dict[str, int]
    environments: tuple[Environment, ...]

    @property
    def title(self) -> str:
        """Suite, target and ranking, and that it is a smoke run where it is one."""
        setup = self.setup
        parts = [str(setup.conditions.target)]
        if setup.kind != "ablation":
            parts.append(f"{setup.ranking} ranking")
        if setup.kind == "stability":
            parts.append(f"{setup.conditions.calibration_images} images")
        smoke = " (smoke run, no measurement)" if self.is_smoke else ""
        return f"{setup.suite}: {', '.join(parts)}{smoke}"

    @property
    def is_smoke(self) -> bool:
        """Whether epochs were cut short, so that the numbers measure nothing."""
        return self.setup.conditions.limit_steps is not None

    @property
    def network(self) -> str:
        """Model and data set."""
        return f"{self.setup.conditions.model.name} on {self.setup.conditions.dataset.name}"

    @property
    def hardware(self) -> str:
        """Device, processors where they are recorded, CPU threads, and precision if it is not the usual one."""
        setup = self.setup
        named = ", ".join(dict.fromkeys(each.processor for each in self.environments if each.processor))
        threads = ", ".join(map(str, sorted({each.threads for each in self.environments})))
        several = f"{setup.devices} x " if setup.devices > 1 else ""
        precision = "" if setup.precision == "32-true" else f", precision {setup.precision}"
        replayed = ", CUDA graphs" if setup.cuda_graphs else ""
        return f"{several}{setup.device}{f' ({named})' if named else ''}, threads: {threads}{precision}{replayed}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that some row has or that failed."""
        seeds = {seed for row in self.rows for seed in row.seeds}
        return tuple(sorted(seeds | {failure.inputs.seed for failure in self.failures}))

    @property
    def seed_count(self) -> str:
        """How many seeds a mean is over, for an axis."""
        fewer = "" if self.is_complete else f", {MARK} fewer"
        return f"{len(self.seeds)} seed{'' if len(self.seeds) == 1 else 's'}{fewer}"

    @property
    def without_result(self) -> tuple[str, ...]:
        """Titles of the criteria that failed with every seed and have no row."""
        titles = dict.fromkeys(failure.inputs.criterion.title for failure in self.failures)
        return tuple(title for title in titles if title not in {row.criterion for row in self.rows})

    @property
    def is_complete(self) -> bool:
        """Whether every criterion has every seed."""
        return not self.without_result and not any(row.missing for row in self.rows)

    @property
    def is_tuned(self) -> bool:
        """Whether pruned models are fine-tuned."""
        return bool(self.setup.conditions.finetune_recipe.epochs)

    @property
    def widths_differ(self) -> bool:
        """Whether criteria end at different widths. They do where channels of several layers are ranked together."""
        return any(row.widths != self.rows[0].widths for row in self.rows)

    @property
    def table_rows(self) -> tuple[Row, ...]:
        """The rows in the order of the tables: by t and s for an ablation, which ranks no row."""
        if self.setup.kind != "ablation":
            return self.rows
        return tuple(sorted(self.rows, key=_parameters))

    @property
    def pruned_layers(self) -> list[str]:
        """Layers of which some row removes a channel, from input to output."""
        widths = self.base_widths.items()
        return [layer for layer, width in widths if any(row.widths.get(layer, width) != width for row in self.rows)]

    @property
    def stages(self) -> list[str]:
        """Names of the stages after pruning that some row has, in the order of the run."""
        known = {stage for row in self.rows for stage in row.stages}
        return [stage for stage in STAGES if stage in known]


def _parameters(row: Row) -> tuple[int, float, str]:
    return (row.rule.neighbors, row.rule.threshold, row.criterion) if row.rule else (0, 0.0, row.criterion)
