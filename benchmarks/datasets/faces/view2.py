"""Pairs of photographs in folds, as LFW's view 2 has them (Huang et al. 2007)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ...errors import BenchmarkError


class PairsError(BenchmarkError, ValueError):
    """A file of pairs that cannot be used; the message names file and line."""


@dataclass(frozen=True)
class Pair:
    """Two photographs, by name, and whether they show one person."""

    first: str
    second: str
    same: bool
    fold: int


@dataclass(frozen=True)
class View2:
    """All pairs, fold by fold.

    Attributes:
        pairs: as many for each fold, half of them of one person.
        folds: how many.
    """

    pairs: tuple[Pair, ...]
    folds: int

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the photographs in any pair, each once, in the order in which they first occur."""
        return tuple(dict.fromkeys(name for pair in self.pairs for name in (pair.first, pair.second)))

    @property
    def people(self) -> frozenset[str]:
        """All people in any pair."""
        return frozenset(name.partition("/")[0] for name in self.images)

    def limited(self, count: int) -> View2:
        """The first ``count`` pairs of each kind in each fold.

        Raises:
            ValueError: if ``count`` is below 1.
        """
        if count < 1:
            raise ValueError(f"limit_pairs: at least 1, or None for all, got {count}")
        seen: Counter[tuple[int, bool]] = Counter()
        pairs = []
        for pair in self.pairs:
            seen[pair.fold, pair.same] += 1
            if seen[pair.fold, pair.same] <= count:
                pairs.append(pair)
        return View2(tuple(pairs), self.folds)

    def check(self, there: Collection[str], source: str) -> None:
        """Check that every photograph exists.

        Args:
            there: names of those that are.
            source: what errors call the file of pairs.

        Raises:
            PairsError: if one is missing; gives their number and a hint about the first.
        """
        names = there if isinstance(there, (set, frozenset)) else set(there)
        missing = [name for name in self.images if name not in names]
        if not missing:
            return
        person = missing[0].partition("/")[0]
        count = sum(name.startswith(f"{person}/") for name in names)
        hint = f"there are {count} of {person}" if count else f"there is no person {person}"
        more = f" and {len(missing) - 1} more photographs" if len(missing) > 1 else ""
        raise PairsError(f"{source} names {missing[0]}.jpg{more}, which the images lack: {hint}")


def read_pairs(path: Path) -> View2:
    """Read a file of pairs in LFW's layout.

    The first line holds the number of folds and the number n of pairs of each kind; n lines ``NAME I J`` and n lines
    ``NAME I OTHER J`` for each fold follow, separated by tabs or spaces. Line ends of any system will do.

    Raises:
        PairsError: if it is not such a file, in layout or numbers.
        OSError: if it cannot be read.
    """
    try:
        lines = [line.split() for line in path.read_text("utf-8").splitlines()]
    except UnicodeDecodeError:
        raise PairsError(f"{path} is no file of pairs: it is not UTF-8 text") from None
    while lines and not lines[-1]:
        lines.pop()
    try:
        folds, count = map(int, lines[0])
    except (ValueError, IndexError):
        first = " ".join(lines[0])[:60] if lines else ""
        wanted = "the number of folds and of pairs of each kind, such as '10 300'"
        raise PairsError(f"{path}:1: expected {wanted}, got {first!r}") from None
    if folds < 2 or count < 1:
        raise PairsError(f"{path}:1: at least 2 folds with 1 pair of each kind, got {folds} and {count}")
    if len(lines) != 1 + 2 * folds * count:
        wanted = f"{folds} folds of {count} and {count} pairs make {2 * folds * count} lines"
        raise PairsError(f"{path}: {wanted} after the first, it has {len(lines) - 1}")
    pairs = []
    for number, words in enumerate(lines[1:]):
        fold, place = divmod(number, 2 * count)
        pairs.append(_pair(words, place < count, fold, f"{path}:{number + 2}"))
    return View2(tuple(pairs), folds)


def _pair(words: list[str], same: bool, fold: int, where: str) -> Pair:
    wanted = "NAME NUMBER NUMBER" if same else "NAME NUMBER NAME NUMBER"
    if len(words) != (3 if same else 4):
        raise PairsError(f"{where}: expected {wanted}, got {' '.join(words)!r}")
    person, other = words[0], words[0] if same else words[2]
    try:
        first, second = _image(person, words[1]), _image(other, words[-1])
    except ValueError:
        raise PairsError(f"{where}: expected {wanted}, got {' '.join(words)!r}") from None
    if first == second:
        raise PairsError(f"{where}: a pair of a photograph with itself")
    if not same and person == other:
        raise PairsError(f"{where}: a pair of different people has {person} twice")
    return Pair(first, second, same, fold)


def _image(person: str, number: str) -> str:
    return f"{person}/{person}_{int(number):04d}"
