"""How numbers and names are written in tables, charts and pages."""

from __future__ import annotations

import html

from .data.estimates import Estimate

_PREFIXES = ("", " k", " M", " G")


def format_percent(value: Estimate | None, *, signed: bool = False) -> str:
    """A fraction as a percentage, ``93.81 ± 0.25``; blank for None, without ± for a single value."""
    if value is None:
        return ""
    margin = "" if value.margin is None else f" ± {100 * value.margin:.2f}"
    # Adding 0 removes the sign of a value that rounds to zero.
    return f"{round(100 * value.mean, 2) + 0.0:{'+' if signed else ''}.2f}{margin}"


def format_number(value: Estimate | None, digits: int, *, factor: float = 1) -> str:
    """A number times ``factor`` with this many decimals; blank for None."""
    if value is None:
        return ""
    margin = "" if value.margin is None else f" ± {factor * value.margin:.{digits}f}"
    return f"{factor * value.mean:.{digits}f}{margin}"


def format_count(count: float) -> str:
    """A count with three digits and a metric prefix: 71234 is ``71.2 k``."""
    for prefix in _PREFIXES:
        if count < 999.5:
            return f"{count:.3g}{prefix}"
        count /= 1000
    return f"{count:.3g} T"


def format_reduction(removed: Estimate) -> str:
    """The fraction of a count that was removed, as a change: ``-50.1%``."""
    return f"-{removed.mean:.1%}"


def seed_count(count: int) -> str:
    """``1 seed`` or ``3 seeds``."""
    return f"{count} seed{'' if count == 1 else 's'}"


def shorten(text: str, length: int) -> str:
    """Text of at most ``length`` characters, with an ellipsis where it was cut."""
    return text if len(text) <= length else f"{text[: length - 1]}\N{HORIZONTAL ELLIPSIS}"


def escape_markdown(text: str) -> str:
    """A user's text for a Markdown table or list, in which nothing is read as markup."""
    for mark in "\\`*|<>[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def escape_html(text: str) -> str:
    """A user's text for a Plotly chart, which would read it as markup."""
    # Plotly knows no entity for quotes, and needs none.
    return html.escape(text, quote=False)
