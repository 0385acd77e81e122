"""A pruning report as one HTML page that needs nothing but a browser."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from .files import write_atomically
from .html_groups import group_views
from .raster import GRADIENT
from .report import PruneReport

__all__ = ["write_html"]

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_DASH = "\N{EN DASH}"
_PROOFS = {
    "proved": "the pruned network answers as the original does with these channels zeroed where they are read",
    "not provable here": "a normalisation mixes removed and kept channels, so the two must differ",
    "not checked": "the pruned network was not compared with the original",
}


def write_html(report: PruneReport, path: Path) -> Path:
    """Write a report as one self-contained page.

    The page fetches nothing, and opens from the disk. Where pictures or lists were cut to keep it below about ten
    megabytes, it says so.

    Args:
        report: what :func:`~foad_plugins.prune` returned.
        path: the file to write; one that is there is replaced in one step, and folders are made as needed.

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written.
    """
    page = _environment().from_string(files(__package__).joinpath("templates/report.html").read_text("utf-8"))
    text = page.render(
        report=report,
        total=report.channels,
        headlines=_headlines(report),
        groups=group_views(report.groups),
        proofs={proof: meaning for proof, meaning in _PROOFS.items() if _count(report, proof)},
        count=lambda proof: _count(report, proof),
        counted=any(layer.flops_before is not None for layer in report.layers),
        widest=max((layer.before for layer in report.layers), default=1),
        gradient=", ".join(GRADIENT),
    )
    # A name may hold half of a surrogate pair, which no file can.
    write_atomically(path, text.encode("utf-8", "replace"))
    return path


def _environment() -> Environment:
    # Names of layers are the user's, and may hold markup.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(change=_change, short=_short, share=_share)
    return environment


def _headlines(report: PruneReport) -> list[dict[str, Any]]:
    images = f" with {report.batch_size} images" if report.batch_size is not None else ""
    return [
        _headline(
            "channels", report.channels, report.channels - report.removed, f"in {report.coupled_groups} coupled groups"
        ),
        _headline("parameters", report.params_before, report.params_after, ""),
        _headline("FLOPs", report.flops_before, report.flops_after, "one image, one multiply-add is one"),
        _headline("latency", report.latency_before, report.latency_after, f"median of a call{images}"),
    ]


def _headline(name: str, before: float | None, after: float | None, note: str) -> dict[str, Any]:
    values = [value for value in (before, after) if value is not None]
    known = len(values) == 2
    if name == "latency":
        shown = exact = " → ".join(f"{1000 * value:,.2f} ms" for value in values)
    else:
        shown = exact = " → ".join(f"{value:,}" for value in values)
        if name != "channels":
            shown = " → ".join(_short(value) for value in values)
    return {
        "name": name,
        "known": known,
        "before": before,
        "after": after,
        "shown": shown,
        "exact": exact,
        "note": note,
    }


def _count(report: PruneReport, proof: str) -> int:
    return sum(group.proof == proof for group in report.groups)


def _change(after: float | None, before: float | None) -> str:
    """The change in percent; a dash where there is none to speak of."""
    if before is None or after is None or not before:
        return _DASH
    percent = f"{100 * (after - before) / before:+.1f} %"
    return "0 %" if percent in ("+0.0 %", "-0.0 %") else percent.replace("-", "\N{MINUS SIGN}")


def _share(after: float | None, before: float | None) -> str:
    """The rest in percent, as a length for a bar."""
    return f"{max(0.0, min(100.0, 100 * (after or 0) / before)):.2f}%" if before else "0%"


def _short(number: float | None) -> str:
    """A count with one digit behind the point and a prefix."""
    if number is None:
        return _DASH
    for size, prefix in _PREFIXES:
        if abs(number) >= size:
            return f"{number / size:,.1f} {prefix}"
    return str(number)
