"""Figures without pyplot: no window opens and no global state changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AFTER", "BEFORE", "MARK", "new_figure", "shorten"]

# Colors of Okabe and Ito, distinct for color-blind readers; before and after also differ in lightness.
BEFORE = "#c9d3dc"
AFTER = "#0072B2"
MARK = "#D55E00"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, its sides in inches.

    Raises:
        ImportError: Matplotlib is not installed (extra ``plot``).
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        message = 'figures need Matplotlib, which is not installed: pip install "foad-plugins[plot]"'
        raise ImportError(message) from error
    return Figure(figsize=(width, height), layout="constrained")


def shorten(name: str, most: int = 44) -> str:
    """At most ``most`` characters of a name, from its end, which distinguishes layers."""
    return name if len(name) <= most else "…" + name[1 - most :]
