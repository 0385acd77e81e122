from __future__ import annotations

import pytest

from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.records.schema import Cost, RunRecord
from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.report.charts.ablation import ablation_panels
from foad_plugins.benchmarks.report.text.comparison import ablation_section
from foad_plugins.benchmarks.report.text.tables import table
from foad_plugins.benchmarks.suites.targets import Target

from ...conftest import MakeRecord
from ..conftest import MakeFailure, cells

ABLATION = {"setup": {"kind": "ablation"}, "conditions": {"target": Target()}}


@pytest.fixture
def records(make_record: MakeRecord) -> list[RunRecord]:
    return [
        make_record(
            "foad",
            seed=seed,
            accuracy=(0.9, 0.05 * t + s, None),
            one_shot_bn=0.5 + s,
            entry={"label": f"t={t} s={s}", "rule": Rule(neighbors=t, threshold=s)},
            removed={"conv": (0, 1, 2)[: t + seed]},
            after=Cost(params=500, flops=1_000_000 * t, widths={"conv": 8 - t}),
            **ABLATION,
        )
        for t, s in ((10, 0.2), (2, 0.2), (2, 0.0))
        for seed in range(2)
        if not (t == 10 and seed)
    ]


def test_rows_are_sorted_by_t_and_s(records: list[RunRecord]) -> None:
    head, _, *rows = table(leaderboards(records)[0]).splitlines()
    assert cells(head) == [
        "criterion",
        "t",
        "s",
        "seeds",
        "base (%)",
        "before fine-tuning (%)",
        "BN adjusted (%)",
        "fine-tuned (%)",
        "params",
        "FLOPs (fvcore)",
        "channels kept of 8",
        "score time (s)",
    ]
    assert [[*cells(row)[:4], cells(row)[10]] for row in rows] == [
        ["t=2 s=0.0", "2", "0", "2", "5.5 ± 6.4"],
        ["t=2 s=0.2", "2", "0.2", "2", "5.5 ± 6.4"],
        ["t=10 s=0.2 †", "10", "0.2", "1 of 2", "5.0"],
    ]
    assert cells(rows[1])[5:7] == ["30.00 ± 0.00", "70.00 ± 0.00"]


def test_a_section_ranks_no_row(records: list[RunRecord], make_failure: MakeFailure) -> None:
    failure = make_failure(
        "foad", entry={"label": "t=3 s=1", "rule": Rule(neighbors=3, threshold=1)}, reason="no | use", **ABLATION
    )
    section = ablation_section(leaderboards(records, [failure])[0])
    assert "no row is better than another by accuracy alone" in section.markdown
    assert "Sorted" not in section.markdown
    assert "**Failed: t=3 s=1, seed 0: no \\| use**" in section.markdown
    assert "| t=3 s=1 †" in section.markdown
    assert "](ablation.png)" in section.markdown
    assert "no | use" in section.terminal
    assert "no rank" not in section.markdown


def test_a_line_for_each_t(records: list[RunRecord]) -> None:
    panels = {panel.title: panel for panel in ablation_panels(leaderboards(records)[0])}
    titles = ["channels kept", "MFLOPs of one image", "accuracy, before fine-tuning (%)", "accuracy, BN adjusted (%)"]
    assert list(panels) == titles
    two, ten = panels["MFLOPs of one image"].series
    assert (two.name, ten.name) == ("t = 2", "t = 10")
    assert (two.x, two.y) == ((0.0, 0.2), (2.0, 2.0))
    assert panels["accuracy, BN adjusted (%)"].series[0].y == pytest.approx((50.0, 70.0))
