"""Accuracy and loss by epoch of fine-tuning."""

from __future__ import annotations

import statistics
from typing import Literal

from ..data.leaderboard import Leaderboard, Row
from ..formatting import escape_html, format_percent
from .interactive import PageFigure, chart_layout, height_for, page_figure, scatter
from .series import Series
from .style import SeriesStyles, row_key

_MARKED_EPOCHS = 20


def fine_tuning_series(board: Leaderboard, styles: SeriesStyles, kind: Literal["accuracy", "loss"]) -> list[Series]:
    """Test accuracy in percent or training loss by epoch, mean over seeds, for rows that have all epochs."""
    found = []
    for row in board.rows:
        if not row.curve:
            continue
        values, texts = _accuracies(row) if kind == "accuracy" else _losses(row)
        name = f"<b>{escape_html(row.criterion)}</b>"
        found.append(
            Series(
                name=row.title,
                style=styles(row),
                x=tuple(range(1, len(values) + 1)),
                y=tuple(values),
                hover=tuple(f"{name}<br>epoch {epoch}: {text}" for epoch, text in enumerate(texts, 1)),
                rows=(row_key(board, row),),
            )
        )
    return found


def _accuracies(row: Row) -> tuple[list[float], list[str]]:
    return [100 * value.mean for value in row.curve], [f"{format_percent(value)} %" for value in row.curve]


def _losses(row: Row) -> tuple[list[float], list[str]]:
    by_epoch = zip(*(run.epochs for run in row.runs), strict=True)
    means = [statistics.fmean(epoch.train_loss for epoch in epochs) for epochs in by_epoch]
    return means, [f"loss {mean:.4f}" for mean in means]


def fine_tuning_figure(
    board: Leaderboard, styles: SeriesStyles, kind: Literal["accuracy", "loss"]
) -> PageFigure | None:
    """A line for each row; None if no row has its epochs."""
    series = fine_tuning_series(board, styles, kind)
    if not series:
        return None
    name = "test accuracy" if kind == "accuracy" else "training loss"
    longest = max(len(one.x) for one in series)
    mode = "lines+markers" if longest <= _MARKED_EPOCHS else "lines"
    layout = chart_layout(
        height_for(len(series), least=340), x="epoch of fine-tuning", y=f"{name} (%)" if kind == "accuracy" else name
    )
    layout["xaxis"]["dtick"] = max(1, longest // 10)
    traces = [scatter(one, mode=mode, size=6) for one in series]
    return page_figure(traces, layout, title=f"Fine-tuning: {name}", note="Mean over seeds.")
