"""What a refit did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from ...utils.text import printable_lines
from .layer_fit import LayerFit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RefitReport"]


@dataclass(frozen=True)
class RefitReport:
    """What :func:`~foad_plugins.refit` did; print or plot it.

    Attributes:
        layers: those that could be solved, in the order in which they were.
        left_alone: names of the other layers, and why they were not.
        images: number of images; None if the data does not show it.
        seconds: that it took.
        notes: remarks for the reader.
    """

    layers: tuple[LayerFit, ...]
    left_alone: Mapping[str, str] = field(default_factory=dict)
    images: int | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the layers with new weights."""
        return tuple(layer.name for layer in self.layers if layer.changed)

    def median_errors(self) -> tuple[float, float]:
        """Medians over the layers of the error before and after; zeros without layers."""
        if not self.layers:
            return 0.0, 0.0
        return median(layer.error_before for layer in self.layers), median(layer.error_after for layer in self.layers)

    def plot(self) -> Figure:
        """The error of each layer before and after, as a Matplotlib figure.

        Raises:
            ImportError: Matplotlib is not installed (extra ``plot``).
            ValueError: there is no layer.
        """
        from .figure import refit_figure

        return refit_figure(self.layers)

    def __str__(self) -> str:
        width = max([len("layer"), *(len(layer.name) for layer in self.layers)])
        lines = [f"{'layer':<{width}}  error before  after"]
        for layer in self.layers:
            after = f"{layer.error_after:.4f}" if layer.changed else "unchanged"
            sums = "  at a sum" if layer.at_sum else ""
            lines.append(f"{layer.name:<{width}}  {layer.error_before:>12.4f}  {after}{sums}")
        images = "" if self.images is None else f" on {self.images} images"
        lines.append(f"{len(self.changed)} of {len(self.layers)} layers refitted{images} in {self.seconds:.1f} s")
        reasons: dict[str, list[str]] = {}
        for name, reason in self.left_alone.items():
            reasons.setdefault(reason, []).append(name)
        for reason, names in reasons.items():
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines.append(f"left alone, {reason}: {', '.join(names[:3])}{more}")
        lines += [f"note: {note}" for note in self.notes]
        return printable_lines(lines)
