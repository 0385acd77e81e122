"""Stability: how far the channels that a criterion removes depend on the calibration images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement

from ...records.schema import RunRecord, Setup
from .agreement import Agreement, agreement
from .leaderboard import Leaderboard


@dataclass(frozen=True)
class CriterionStability:
    """One criterion's agreement with itself.

    Attributes:
        criterion: its title.
        missing: numbers of images and seeds of the report that this criterion has no run with.
        between_counts: by two numbers of calibration images of one sample, the smaller first: the smaller set is the
            beginning of the larger; pairs are the samples. A number with itself agrees in full.
        between_samples: two samples of as many images, by their number; pairs are those of samples that prune the same
            base model, because other networks have other channels. None where there are no such pairs.
    """

    criterion: str
    missing: tuple[tuple[int, int], ...]
    between_counts: dict[tuple[int, int], Agreement | None]
    between_samples: dict[int, Agreement | None]


@dataclass(frozen=True)
class StabilityReport:
    """The criteria of one suite of stability, by title.

    Attributes:
        boards: one for each number of images, smallest first.
        counts: those numbers.
        criteria: at least one.
    """

    boards: tuple[Leaderboard, ...]
    counts: tuple[int, ...]
    criteria: tuple[CriterionStability, ...]

    @property
    def setup(self) -> Setup:
        """What all share, except for the number of images."""
        return self.boards[0].setup

    @property
    def title(self) -> str:
        """Suite, target and ranking."""
        smoke = " (smoke run, no measurement)" if self.boards[0].is_smoke else ""
        return f"{self.setup.suite}: {self.setup.conditions.target}, {self.setup.ranking} ranking{smoke}"

    @property
    def samples(self) -> tuple[int, ...]:
        """The seeds that the calibration samples were drawn with."""
        return tuple(sorted({seed for board in self.boards for seed in board.seeds}))

    @property
    def compares_samples(self) -> bool:
        """Whether any two calibration samples can be compared."""
        return any(found for criterion in self.criteria for found in criterion.between_samples.values())

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer that a comparison of two calibration samples contains."""
        found = (each for criterion in self.criteria for each in criterion.between_samples.values() if each)
        return tuple(dict.fromkeys(layer for each in found for layer in each.by_layer))

    def against_most(self, criterion: CriterionStability) -> dict[int, Agreement]:
        """By number of images, the agreement with the choice on the most images of the same calibration sample."""
        most = self.counts[-1]
        found = {count: criterion.between_counts.get((count, most)) for count in self.counts[:-1]}
        return {count: each for count, each in found.items() if each}


def stability_reports(boards: Iterable[Leaderboard]) -> list[StabilityReport]:
    """One report for the boards of stability that differ only in the number of calibration images; others are passed
    over."""
    together: dict[str, list[Leaderboard]] = {}
    for board in boards:
        if board.setup.kind == "stability":
            together.setdefault(board.setup.key_without("calibration_images"), []).append(board)
    return [_report(sorted(group, key=_images)) for group in together.values()]


def _images(board: Leaderboard) -> int:
    return board.setup.conditions.calibration_images


def _report(boards: Sequence[Leaderboard]) -> StabilityReport:
    # By the whole criterion and not by its title, which two versions of a suite may both use.
    runs: dict[str, dict[int, dict[int, RunRecord]]] = {}
    for board in boards:
        for row in board.rows:
            for run in row.runs:
                by_count = runs.setdefault(run.inputs.criterion.model_dump_json(), {})
                by_count.setdefault(_images(board), {})[run.inputs.seed] = run
    wanted = {(count, seed) for by_count in runs.values() for count, by_seed in by_count.items() for seed in by_seed}
    criteria = [_stability(by_count, wanted) for by_count in runs.values()]
    return StabilityReport(
        boards=tuple(boards),
        counts=tuple(map(_images, boards)),
        criteria=tuple(sorted(criteria, key=lambda criterion: criterion.criterion)),
    )


def _stability(runs: dict[int, dict[int, RunRecord]], wanted: set[tuple[int, int]]) -> CriterionStability:
    some = next(iter(next(iter(runs.values())).values()))
    return CriterionStability(
        criterion=some.inputs.criterion.title,
        missing=tuple(sorted(wanted - {(count, seed) for count, by_seed in runs.items() for seed in by_seed})),
        between_counts={
            (first, second): agreement([(runs[first][s], runs[second][s]) for s in runs[first] if s in runs[second]])
            for first, second in combinations_with_replacement(sorted(runs), 2)
        },
        between_samples={
            count: agreement([pair for pair in combinations(_by_seed(by_seed), 2) if _same_base(*pair)])
            for count, by_seed in sorted(runs.items())
        },
    )


def _by_seed(runs: dict[int, RunRecord]) -> list[RunRecord]:
    return [runs[seed] for seed in sorted(runs)]


def _same_base(first: RunRecord, second: RunRecord) -> bool:
    return first.base_weights_hash == second.base_weights_hash
