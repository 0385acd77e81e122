"""Studies of stability: what each criterion removes on more, fewer and other calibration images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement

from ...files import hash_json
from ...records.schema import RunRecord, Setup
from .agreement import Agreement, agreement
from .leaderboard import Leaderboard

__all__ = ["Stability", "Study", "studies"]


@dataclass(frozen=True)
class Stability:
    """One criterion's agreement with itself.

    Attributes:
        criterion: its title.
        missing: numbers of images and draws of the study that this criterion has no run with.
        between_counts: by two numbers of calibration images, the smaller first, of one draw: the smaller set is the
            beginning of the larger; pairs are the draws. A number with itself agrees in full.
        between_draws: two draws of as many images, by their number; pairs are those of draws that prune the same base
            model, as other networks have other channels. None where there are no such pairs.
    """

    criterion: str
    missing: tuple[tuple[int, int], ...]
    between_counts: dict[tuple[int, int], Agreement | None]
    between_draws: dict[int, Agreement | None]


@dataclass(frozen=True)
class Study:
    """The criteria of one study, by title.

    Attributes:
        boards: one for each number of images, smallest first.
        counts: those numbers.
        criteria: at least one.
    """

    boards: tuple[Leaderboard, ...]
    counts: tuple[int, ...]
    criteria: tuple[Stability, ...]

    @property
    def setup(self) -> Setup:
        """What all share, but for the number of images."""
        return self.boards[0].setup

    @property
    def title(self) -> str:
        """Suite, target and ranking."""
        smoke = " (smoke run, no measurement)" if self.boards[0].is_smoke else ""
        return f"{self.setup.suite}: {self.setup.conditions.target}, {self.setup.ranking} ranking{smoke}"

    @property
    def draws(self) -> tuple[int, ...]:
        """The seeds that calibration images were drawn with."""
        return tuple(sorted({seed for board in self.boards for seed in board.seeds}))

    @property
    def compares_draws(self) -> bool:
        """Whether any two draws can be compared."""
        return any(found for criterion in self.criteria for found in criterion.between_draws.values())

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer that a comparison of two draws has."""
        found = (between for criterion in self.criteria for between in criterion.between_draws.values() if between)
        return tuple(dict.fromkeys(layer for between in found for layer in between.by_layer))


def studies(boards: Iterable[Leaderboard]) -> list[Study]:
    """Boards that differ in nothing but the number of calibration images, together."""
    together: dict[str, list[Leaderboard]] = {}
    for board in boards:
        content = board.setup.model_dump(mode="json")
        content["conditions"].pop("calibration_images")
        together.setdefault(hash_json(content), []).append(board)
    return [_study(sorted(group, key=_images)) for group in together.values()]


def _images(board: Leaderboard) -> int:
    return board.setup.conditions.calibration_images


def _study(boards: Sequence[Leaderboard]) -> Study:
    # By what was asked and not by title, which two versions of a suite may both use.
    runs: dict[str, dict[int, dict[int, RunRecord]]] = {}
    for board in boards:
        for row in board.rows:
            for run in row.runs:
                by_count = runs.setdefault(run.inputs.criterion.model_dump_json(), {})
                by_count.setdefault(_images(board), {})[run.inputs.seed] = run
    asked = {(count, seed) for by_count in runs.values() for count, draws in by_count.items() for seed in draws}
    criteria = [_stability(by_count, asked) for by_count in runs.values()]
    return Study(
        boards=tuple(boards),
        counts=tuple(map(_images, boards)),
        criteria=tuple(sorted(criteria, key=lambda criterion: criterion.criterion)),
    )


def _stability(runs: dict[int, dict[int, RunRecord]], asked: set[tuple[int, int]]) -> Stability:
    some = next(iter(next(iter(runs.values())).values()))
    return Stability(
        criterion=some.inputs.criterion.title,
        missing=tuple(sorted(asked - {(count, seed) for count, draws in runs.items() for seed in draws})),
        between_counts={
            (first, second): agreement([(runs[first][s], runs[second][s]) for s in runs[first] if s in runs[second]])
            for first, second in combinations_with_replacement(sorted(runs), 2)
        },
        between_draws={
            count: agreement([pair for pair in combinations(_by_seed(draws), 2) if _same_base(*pair)])
            for count, draws in sorted(runs.items())
        },
    )


def _by_seed(draws: dict[int, RunRecord]) -> list[RunRecord]:
    return [draws[seed] for seed in sorted(draws)]


def _same_base(first: RunRecord, second: RunRecord) -> bool:
    return first.base_weights_hash == second.base_weights_hash
