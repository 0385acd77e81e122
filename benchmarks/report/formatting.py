"""How figures are written in tables."""

from __future__ import annotations

from .data.estimates import Estimate

__all__ = ["PREFIXES", "counted", "escaped", "percent", "plain"]

PREFIXES = ("", " k", " M", " G")


def percent(value: Estimate | None, *, signed: bool = False) -> str:
    """A fraction as percents, ``93.81 ± 0.25``; blank for None, without ± for a single value."""
    if value is None:
        return ""
    margin = "" if value.margin is None else f" ± {100 * value.margin:.2f}"
    # Adding 0 takes the sign from what rounds to zero.
    return f"{round(100 * value.mean, 2) + 0.0:{'+' if signed else ''}.2f}{margin}"


def plain(value: Estimate | None, digits: int, *, factor: float = 1) -> str:
    """A number with so many decimals, multiplied by ``factor``; blank for None."""
    if value is None:
        return ""
    margin = "" if value.margin is None else f" ± {factor * value.margin:.{digits}f}"
    return f"{factor * value.mean:.{digits}f}{margin}"


def counted(count: float) -> str:
    """A count with three figures and a metric prefix: 71234 is ``71.2 k``."""
    for prefix in PREFIXES:
        if count < 999.5:
            return f"{count:.3g}{prefix}"
        count /= 1000
    return f"{count:.3g} T"


def escaped(text: str) -> str:
    """Text of others for a Markdown table or list: nothing in it is taken for markup."""
    for mark in "\\`*|<>[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def percent_change(reduction: float) -> str:
    """A reduction as a change in percent."""
    return f"{-100 * reduction:+.1f} %".replace("-", "\N{MINUS SIGN}")
