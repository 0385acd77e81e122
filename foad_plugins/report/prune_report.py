"""The report of a pruning call, as text, figure and HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.extras import require_extra
from ..utils.text import enumerate_some, printable_lines
from .data import ReportData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["REPORT_PACKAGES", "PruneReport"]

REPORT_PACKAGES = {"jinja2": "jinja2", "PIL": "pillow", "scipy": "scipy"}
"""Packages of the extra ``report``, by module; :meth:`PruneReport.to_html` needs them."""


@dataclass(frozen=True)
class PruneReport(ReportData):
    """What :func:`~foad_plugins.prune` removed; the fields are those of :class:`ReportData`."""

    def plot(self) -> Figure:
        """Widths, FLOPs and errors of a refit layer by layer, before and after, as a Matplotlib figure.

        Raises:
            ImportError: Matplotlib is not installed (extra ``plot``).
        """
        from .figures import report_figure

        return report_figure(self)

    def to_html(self, path: str | Path, *, about: Mapping[str, str] | None = None) -> Path:
        """Write the report as one self-contained HTML page.

        Widths and FLOPs of every layer, its error before and after a refit, the similarity matrices ordered by
        cluster, and pairs of removed channel and representative as images.

        Args:
            path: the file to write; an existing one is replaced.
            about: where the report comes from, such as model, data and date, shown below the title.

        Returns:
            The path.

        Raises:
            ImportError: packages of the extra ``report`` are not installed.
            OSError: the file cannot be written.
        """
        require_extra("an HTML report cannot be written", "report", REPORT_PACKAGES)
        from .html import write_html

        return write_html(self, Path(path), about)

    def __str__(self) -> str:
        width = max([len("layer"), *(len(layer.name) for layer in self.layers)])
        lines = [f"{'layer':<{width}}  before  after"]
        for layer in self.layers:
            after = layer.after if layer.after != layer.before else ""
            lines.append(f"{layer.name:<{width}}  {layer.before:>6}  {after:>5}".rstrip())
        lines += [
            f"{self.removed} of {self.channels} channels removed in {self.coupled_groups} coupled groups",
            f"params {self.params_before:,} -> {self.params_after:,} "
            f"({_change(self.params_before, self.params_after)})",
        ]
        if self.flops_before is not None and self.flops_after is not None:
            change = _change(self.flops_before, self.flops_after)
            counted = f"{self.flops_before:,} -> {self.flops_after:,} ({change})"
            lines.append(f"FLOPs  {counted}, one image, one multiply-add is one")
        if self.latency_before and self.latency_after:
            timed = f"{1000 * self.latency_before:.2f} ms -> {1000 * self.latency_after:.2f} ms"
            change = _change(self.latency_before, self.latency_after)
            lines.append(f"latency {timed} ({change}), median of a call with {self.batch_size} images")
        lines += self._compensation_lines()
        unverified = [group.name for group in self.groups if group.verification == "not verifiable"]
        if unverified:
            lines.append(f"not verifiable (a normalization mixes the channels): {_listed(unverified)}")
        lines += [f"note: {note}" for note in self.notes]
        if self.dry_run:
            lines.append("dry run: the model is unchanged")
        return printable_lines(lines)

    def _compensation_lines(self) -> list[str]:
        lines = []
        if self.compensated:
            lines.append(f"compensated in {len(self.compensated)} layers that consume removed channels")
        if self.not_compensated:
            lines.append(f"not compensated, cannot mix channels: {_listed(self.not_compensated)}")
        if self.refit is not None:
            before, after = self.refit.median_errors()
            lines.append(
                f"refitted {len(self.refit.changed)} of {len(self.refit.layers)} layers in {self.refit.seconds:.1f} s, "
                f"median error over variance {before:.3f} -> {after:.3f}"
            )
        return lines


def _listed(names: Sequence[str]) -> str:
    return enumerate_some(dict.fromkeys(names))


def _change(before: float, after: float) -> str:
    return f"{100 * (after - before) / before:+.1f} %" if before else "none"
