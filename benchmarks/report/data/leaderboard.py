"""What a leaderboard holds: rows with figures over seeds, and what the rows share."""

from __future__ import annotations

from dataclasses import dataclass

from ...criteria.spec import Rule
from ...records.environment import Environment
from ...records.schema import FailureRecord, RunRecord, Setup
from .estimates import Estimate

__all__ = ["MARK", "LatencyEstimate", "Leaderboard", "Row"]

MARK = "†"
"""Stands behind the title of an entry that lacks seeds."""


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
    """One entry's figures over its seeds. What some seed lacks is None or empty.

    Attributes:
        criterion: its title.
        method: the criterion's name, settings and rule as JSON, the same with and without compensation.
        compensate: how readers took over what was removed, None for not at all.
        rule: the published rule that decided how many channels went; None if the target did.
        seeds: the seeds that are there.
        missing: the seeds that other entries of the table have or tried, and this has not.
        base: accuracy before pruning, in [0, 1].
        one_shot: accuracy after pruning.
        one_shot_bn: the same with the statistics of batch normalization moved.
        fine_tuned: accuracy after the last epoch of fine-tuning.
        best_epoch: the highest accuracy of any epoch, chosen on the test images and therefore too good.
        curve: test accuracy after each epoch of fine-tuning; empty unless all seeds have equally many, all measured.
        difference: last accuracy there is (fine-tuned, or else one-shot) minus that of the board's reference, seed by
            seed, over the seeds both have; None for the reference itself and if there are no such seeds.
        params: number of parameters after pruning.
        params_reduction: fraction of the parameters that went.
        flops: FLOPs of one image after pruning.
        flops_reduction: fraction of the FLOPs that went.
        base_params: mean number of parameters before pruning.
        base_flops: mean FLOPs before pruning.
        channels: how many channels there were to remove, over all coupled groups; None where they were not kept.
        channels_kept: how many of them were kept.
        widths: mean number of output channels by layer, after pruning.
        latency: by batch size, smallest first.
        seconds_to_score: wall-clock time of the criterion, calibration included.
        peak_bytes_to_score: the most memory that the criterion took.
        runs: the records behind all this, by seed.
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
    def last(self) -> Estimate:
        """The accuracy of the network as the runs left it."""
        return self.fine_tuned or self.one_shot_bn or self.one_shot


@dataclass(frozen=True)
class Leaderboard:
    """All entries that ran under one setup.

    Rows with all seeds come first, best first: by fine-tuned accuracy, then one-shot, then title. Rows that lack seeds
    follow, in the same order: their means are over other seeds and no rank.

    Attributes:
        setup: what the rows share.
        rows: at least one.
        failures: runs that ended without a result and have none from another try, by title and seed.
        train_images: in the training part.
        test_images: behind every accuracy.
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
        """Whether epochs were cut short, so that figures measure nothing."""
        return self.setup.conditions.limit_steps is not None

    @property
    def place(self) -> str:
        """Device, processors where they were kept, CPU threads, and precision if it is not the usual one."""
        setup = self.setup
        named = ", ".join(dict.fromkeys(place.processor for place in self.environments if place.processor))
        threads = ", ".join(map(str, sorted({place.threads for place in self.environments})))
        several = f"{setup.devices} x " if setup.devices > 1 else ""
        precision = "" if setup.precision == "32-true" else f", precision {setup.precision}"
        replayed = ", CUDA graphs" if setup.cuda_graphs else ""
        return f"{several}{setup.device}{f' ({named})' if named else ''}, threads: {threads}{precision}{replayed}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that some row has or that was tried."""
        seeds = {seed for row in self.rows for seed in row.seeds}
        return tuple(sorted(seeds | {failure.inputs.seed for failure in self.failures}))

    @property
    def spread(self) -> str:
        """What points and bars stand for, in a line of its own below an axis' title; empty with one seed."""
        return f"\nmean and 95 % interval, {self.seed_count}" if len(self.seeds) > 1 else ""

    @property
    def seed_count(self) -> str:
        """How many seeds a mean is over, for an axis."""
        count = len(self.seeds)
        fewer = "" if self.is_complete else f", {MARK} fewer"
        return f"{count} seed{'s' if count > 1 else ''}{fewer}"

    @property
    def without_result(self) -> tuple[str, ...]:
        """Titles of the entries that failed with every seed and have no row."""
        titles = dict.fromkeys(failure.inputs.criterion.title for failure in self.failures)
        return tuple(title for title in titles if title not in {row.criterion for row in self.rows})

    @property
    def is_complete(self) -> bool:
        """Whether every entry has every seed."""
        return not self.without_result and not any(row.missing for row in self.rows)

    @property
    def is_tuned(self) -> bool:
        """Whether pruned models are fine-tuned."""
        return bool(self.setup.conditions.finetune_recipe.epochs)

    @property
    def widths_differ(self) -> bool:
        """Whether entries end at different widths, as they do unless channels compete within their layers alone."""
        return any(row.widths != self.rows[0].widths for row in self.rows)
