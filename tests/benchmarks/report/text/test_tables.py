from __future__ import annotations

import pytest

from foad_plugins.benchmarks.records.schema import BestEpoch, Cost, Latency
from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.report.data.estimates import Estimate
from foad_plugins.benchmarks.report.formatting import escape_markdown, format_count, format_percent
from foad_plugins.benchmarks.report.text.tables import (
    draw_markdown,
    draw_narrow,
    latency_table,
    table,
    terminal_table,
    widths_table,
)

from ...conftest import MakeRecord
from ..conftest import MakeFailure, cells


def test_a_markdown_row_shows_the_records(make_record: MakeRecord) -> None:
    records = [make_record(seed=seed, accuracy=(0.9, 0.3 + seed / 10, 0.8)) for seed in range(3)]
    head, _, row = table(leaderboards(records)[0]).splitlines()
    assert dict(zip(cells(head), cells(row), strict=True)) == {
        "criterion": "l1",
        "seeds": "3",
        "base (%)": "90.00 ± 0.00",
        # A standard deviation of 10 over 3 seeds, 4.303 standard errors.
        "before fine-tuning (%)": "40.00 ± 24.84",
        "fine-tuned (%)": "80.00 ± 0.00",
        "params": "500 (-75.0%)",
        "FLOPs (fvcore)": "1 M (-75.0%)",
        "score time (s)": "0.250",
    }


def test_a_missing_figure_leaves_its_cell_blank(make_record: MakeRecord) -> None:
    _, _, row = table(leaderboards([make_record(accuracy=(0.9, 0.5, None))])[0]).splitlines()
    assert cells(row)[2:5] == ["90.00", "50.00", ""]


def test_columns_come_with_what_was_measured(make_record: MakeRecord) -> None:
    shared = {"setup": {"reference": "l1+ls"}}
    records = [
        make_record("l1", seed=seed, accuracy=(0.9, 0.2, 0.7 + seed / 100), one_shot_bn=0.6, entry=entry, **shared)
        for entry in ({}, {"label": "l1+ls", "compensate": "least_squares"})
        for seed in range(2)
    ]
    records += [make_record("fpgm", accuracy=(0.9, 0.1, 0.6), **shared)]
    head, _, *rows = table(leaderboards(records)[0]).splitlines()
    assert cells(head)[:8] == [
        "criterion",
        "compensation",
        "seeds",
        "base (%)",
        "before fine-tuning (%)",
        "BN adjusted (%)",
        "fine-tuned (%)",
        "Δ l1+ls (points)",
    ]
    assert [cells(row)[:8] for row in rows] == [
        ["l1", "none", "2", "90.00 ± 0.00", "20.00 ± 0.00", "60.00 ± 0.00", "70.50 ± 6.35", "+0.00 ± 0.00"],
        ["l1+ls", "least squares", "2", "90.00 ± 0.00", "20.00 ± 0.00", "60.00 ± 0.00", "70.50 ± 6.35", ""],
        ["fpgm †", "none", "1 of 2", "90.00", "10.00", "", "60.00", "-10.00"],
    ]


def test_the_best_epoch_and_memory_have_columns_where_they_were_measured(make_record: MakeRecord) -> None:
    record = make_record(peak_bytes_to_score=2_340_000)
    best = record.accuracy.model_copy(update={"best_epoch": BestEpoch(epoch=1, accuracy=0.85)})
    board = leaderboards([record.model_copy(update={"accuracy": best}), make_record("foad")])[0]
    head, _, *rows = table(board).splitlines()
    shown = {row["criterion"]: row for row in (dict(zip(cells(head), cells(line), strict=True)) for line in rows)}
    assert shown["l1"]["best epoch, chosen on test data (%)"] == "85.00"
    assert shown["l1"]["score memory (MB)"] == "2.3"
    assert shown["foad"]["best epoch, chosen on test data (%)"] == shown["foad"]["score memory (MB)"] == ""


def test_an_entry_without_any_result_has_blank_cells(make_record: MakeRecord, make_failure: MakeFailure) -> None:
    records = [make_record("l1", seed=seed) for seed in range(2)]
    board = leaderboards(records, [make_failure("chip", seed=seed) for seed in range(2)])[0]
    *_, row = table(board).splitlines()
    assert cells(row) == ["chip †", "0 of 2", "", "", "", "", "", ""]


def test_latency_before_and_after_by_batch_size(make_record: MakeRecord) -> None:
    timed = [Latency(batch_size=size, threads=1, before=0.4 * size, after=0.1 * size) for size in (1, 128)]
    records = [make_record("l1", latency=tuple(timed)), make_record("foad", latency=(timed[0],))]
    head, _, *rows = latency_table(leaderboards(records)[0]).splitlines()
    assert cells(head)[:4] == ["criterion", "batch 1: before (ms)", "batch 1: after (ms)", "batch 1: speed-up"]
    assert [cells(row) for row in rows] == [
        ["foad", "400.00", "100.00", "4.00", "", "", ""],
        ["l1", "400.00", "100.00", "4.00", "51200.00", "12800.00", "4.00"],
    ]
    assert latency_table(leaderboards([make_record()])[0]) == ""


def test_widths_of_the_layers_that_someone_pruned(make_record: MakeRecord) -> None:
    before = {"stem": 4, "conv": 8, "fc": 10}
    records = [
        make_record(
            name,
            seed=seed,
            before=Cost(params=2000, flops=4_000_000, widths=before),
            after=Cost(params=500, flops=1_000_000, widths={**before, **after}),
        )
        for seed in range(2)
        for name, after in (("foad", {"conv": 4 + seed}), ("l1", {"stem": 3}))
    ]
    head, _, *rows = widths_table(leaderboards(records)[0]).splitlines()
    assert cells(head) == ["layer", "before", "foad", "l1"]
    assert [cells(row) for row in rows] == [["stem", "4", "4", "3"], ["conv", "8", "4.5", "8"]]


def test_the_terminal_table_has_what_matters(make_record: MakeRecord) -> None:
    shared = {"setup": {"reference": "foad"}}
    board = leaderboards([make_record("foad", **shared), make_record("l1", one_shot_bn=0.6, **shared)])[0]
    first, second, _, *rows = terminal_table(board).splitlines()
    assert first.split() == ["criterion", "seeds", "before", "fine-tuned", "difference", "params", "FLOPs"]
    assert second.split() == ["fine-tuning", "to", "foad"]
    assert [row.split() for row in rows] == [
        ["l1", "1", "60.00", "80.00", "+0.00", "-75.0%", "-75.0%"],
        ["foad", "1", "50.00", "80.00", "-75.0%", "-75.0%"],
    ]


@pytest.mark.parametrize("name", ["a" * 60, "short"])
def test_terminal_tables_have_at_most_100_columns(name: str, make_record: MakeRecord) -> None:
    shared = {"setup": {"reference": name}}
    records = [
        make_record("foad", seed, (0.9, 0.1 + 0.4 * seed, 0.1 + 0.4 * seed), entry={"label": label}, **shared)
        for label in (name, f"{name[:-1]}b", "c")
        for seed in range(3)
    ]
    text = terminal_table(leaderboards(records[:-1])[0])
    assert max(map(len, text.splitlines())) <= 100
    assert ("\N{HORIZONTAL ELLIPSIS}" in text.splitlines()[3]) == (len(name) > 20)
    wide = draw_narrow(["criterion", "x"], [["a" * 90, "1" * 50]])
    assert {len(line.rstrip()) for line in wide.splitlines()[1:]} == {100}


def test_titles_are_no_markup() -> None:
    assert escape_markdown("a|b *c* <d>\n`e` [f]") == "a\\|b \\*c\\* \\<d\\> \\`e\\` \\[f\\]"
    assert escape_markdown("foad_rounds-2.1 (t=1)") == "foad_rounds-2.1 (t=1)"
    assert "a\\|b" in draw_markdown(["criterion", "x"], [["a|b", "1"]])
    assert "a|b" in draw_narrow(["criterion", "x"], [["a|b", "1"]])
    assert draw_markdown(["criterion", "x"], []).splitlines()[0].split() == ["|", "criterion", "|", "x", "|"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (999.6, "1 k"),
        (71234, "71.2 k"),
        (2397184, "2.4 M"),
        (4.1e9, "4.1 G"),
        (2.5e12, "2.5 T"),
    ],
)
def test_counts_have_three_figures(count: float, text: str) -> None:
    assert format_count(count) == text


def test_what_rounds_to_zero_has_no_minus() -> None:
    assert format_percent(Estimate(-1e-9, None, 1), signed=True) == "+0.00"
    assert format_percent(Estimate(-1e-4, 0.0, 2), signed=True) == "-0.01 ± 0.00"
