"""Colors, markers and limits that all charts share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from ..data.estimates import Estimate
from ..data.leaderboard import Leaderboard, Row
from ..formatting import escape_html, format_count, format_percent, format_reduction, seed_count

PALETTE = (
    ("#0072b2", "#4f9fd6"),
    ("#d55e00", "#f0843c"),
    ("#009e73", "#35c196"),
    ("#cc79a7", "#e39bc4"),
    ("#b8860b", "#e5b84a"),
    ("#56b4e9", "#8fd0f5"),
    ("#7a5ac2", "#a78bea"),
    ("#b2182b", "#ef6a74"),
    ("#6a8a22", "#a9c95a"),
    ("#8c564b", "#c99a8d"),
)
"""Colors on a light and on a dark page, based on those of Okabe and Ito, which color-blind readers can tell apart."""

_RANDOM = len(PALETTE) - 1
# The number of markers and that of colors have no common divisor, so that 63 series differ.
_MARKERS = (
    ("o", "circle"),
    ("s", "square"),
    ("D", "diamond"),
    ("^", "triangle-up"),
    ("P", "cross"),
    ("X", "x"),
    ("v", "triangle-down"),
)


@dataclass(frozen=True)
class SeriesStyle:
    """How a series looks, the same in a PNG and on the page.

    Attributes:
        number: of the series, from 0.
        is_hollow: whether markers are drawn as outlines.
        is_random: whether it is the criterion ``random``, which has a color of its own.
    """

    number: int
    is_hollow: bool = False
    is_random: bool = False

    @property
    def _color(self) -> int:
        return _RANDOM if self.is_random else self.number % _RANDOM

    @property
    def color(self) -> str:
        """As Matplotlib takes it."""
        return PALETTE[self._color][0]

    @property
    def css_color(self) -> str:
        """As the page takes it: a variable, which has another value on a dark page."""
        return f"var(--c{self._color})"

    @property
    def marker(self) -> str:
        """As Matplotlib takes it."""
        return _MARKERS[self.number % len(_MARKERS)][0]

    @property
    def symbol(self) -> str:
        """As Plotly takes it."""
        return _MARKERS[self.number % len(_MARKERS)][1] + ("-open" if self.is_hollow else "")


SeriesStyles: TypeAlias = Callable[[Row], SeriesStyle]


def series_styles(boards: Iterable[Leaderboard]) -> SeriesStyles:
    """The style of each row of all leaderboards of a report, by the criterion and not by its rank.

    All charts of a report take their styles from one call, so that a criterion looks the same in all. Ablations, whose
    charts have a series for each t, are ignored. Rows that differ only in compensation share color and marker, which is
    hollow without compensation.
    """
    compared = (board for board in boards if board.setup.kind != "ablation")
    rows = sorted((row for board in compared for row in board.rows), key=lambda row: row.criterion)
    random = {row.method for row in rows if row.runs[0].inputs.criterion.name == "random"}
    ordered = dict.fromkeys(row.method for row in rows)
    # Random comes last: it takes no color of the others.
    numbers = {method: number for number, method in enumerate(sorted(ordered, key=random.__contains__))}
    has_compensation = any(row.compensate for row in rows)

    def style(row: Row) -> SeriesStyle:
        is_hollow = has_compensation and row.compensate is None
        return SeriesStyle(numbers[row.method], is_hollow=is_hollow, is_random=row.method in random)

    return style


def percent_limits(values: Iterable[Estimate | None]) -> tuple[float, float]:
    """Limits of an axis in percent that show all means, and wide intervals only in part.

    Beyond the means there is room for one range of theirs, and for a point at least; no accuracy is outside 0 to 100 %.
    """
    known = [value for value in values if value is not None]
    if not known:
        return 0, 100
    means = [100 * value.mean for value in known]
    span = max(max(means) - min(means), 1.0)
    ends = [100 * (value.mean + sign * (value.margin or 0)) for value in known for sign in (-1, 1)]
    low, high = max(0, min(means) - span, min(ends) - span / 10), min(100, max(means) + span, max(ends) + span / 10)
    # Markers at 0 or 100 % are shown in full.
    return low - span / 20, high + span / 20


def row_key(board: Leaderboard, row: Row) -> str:
    """What the page's filters call a row."""
    return f"{board.setup.key[:12]}-{board.rows.index(row)}"


def hover_text(board: Leaderboard, row: Row, stage: str | None = None) -> str:
    """What hovering over a point of a row shows: all its stages, or one."""
    stages = [(name, value) for name, value in row.stages.items() if stage in (None, name)]
    lines = [
        f"<b>{escape_html(row.criterion)}</b>",
        *([f"t={row.rule.neighbors}, s={row.rule.threshold:g}"] if row.rule else []),
        *(f"{name}: {format_percent(value)} %" for name, value in stages),
        f"{format_count(row.flops.mean)} FLOPs ({format_reduction(row.flops_reduction)})",
        f"{format_count(row.params.mean)} parameters ({format_reduction(row.params_reduction)})",
        f"{seed_count(len(row.seeds))}; {escape_html(str(board.setup.conditions.target))}",
    ]
    return "<br>".join(lines)
