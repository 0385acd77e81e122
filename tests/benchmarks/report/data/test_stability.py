from __future__ import annotations

import csv
import io

import pytest

from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.records.schema import RunRecord
from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.report.charts.stability import counts_grid, sample_series
from foad_plugins.benchmarks.report.charts.style import series_styles
from foad_plugins.benchmarks.report.data.stability import StabilityReport, stability_reports
from foad_plugins.benchmarks.report.text.stability import (
    counts_table,
    layers_table,
    samples_table,
    stability_csv,
    stability_section,
)

from ...conftest import MakeRecord
from ..conftest import cells

# What "moody" removes of eight channels, by number of images and draw; "steady" always removes the same.
MOODY = {(16, 0): (0, 1), (16, 1): (2, 3), (64, 0): (0, 2), (64, 1): (1, 2)}


@pytest.fixture
def records(make_record: MakeRecord) -> list[RunRecord]:
    return [
        make_record(
            name,
            seed=seed,
            removed={"conv": channels if name == "moody" else (6, 7)},
            conditions={"calibration_images": count},
            setup={"kind": "stability"},
        )
        for name in ("steady", "moody")
        for (count, seed), channels in MOODY.items()
    ]


@pytest.fixture
def report(records: list[RunRecord]) -> StabilityReport:
    (report,) = stability_reports(leaderboards(records))
    return report


def test_numbers_of_images_are_compared_within_a_sample(report: StabilityReport) -> None:
    moody, steady = report.criteria
    assert (report.counts, report.samples) == ((16, 64), (0, 1))
    assert moody.between_counts[16, 64].overlap == pytest.approx(1 / 3)
    assert moody.between_counts[16, 64].pairs == 2
    assert moody.between_counts[16, 16].overlap == 1
    assert all(found.overlap == 1 for found in steady.between_counts.values())


def test_samples_are_compared_at_one_number_of_images(report: StabilityReport) -> None:
    moody, steady = report.criteria
    assert moody.between_samples[16].overlap == 0
    assert moody.between_samples[64].overlap == pytest.approx(1 / 3)
    assert moody.between_samples[64].pairs == 1
    assert all(found.overlap == 1 for found in steady.between_samples.values())


def test_targets_and_rankings_make_studies_of_their_own(records: list[RunRecord], make_record: MakeRecord) -> None:
    other = make_record(
        "moody",
        removed={"conv": (1,)},
        conditions={"calibration_images": 16},
        setup={"kind": "stability", "ranking": "global"},
    )
    first, second = stability_reports(leaderboards([*records, other]))
    assert (len(first.criteria), len(second.criteria)) == (2, 1)
    assert first.title == "tiny: FLOPs -40%, local ranking"
    assert second.title == "tiny: FLOPs -40%, global ranking"


def test_missing_runs_are_told_and_what_is_left_is_compared(records: list[RunRecord]) -> None:
    (report,) = stability_reports(leaderboards(records[:-1]))
    moody, steady = report.criteria
    assert (moody.missing, steady.missing) == (((64, 1),), ())
    assert moody.between_samples[64] is None
    assert moody.between_counts[16, 64].pairs == 1
    assert "**Runs are missing (moody 1)" in stability_section(report, series_styles(report.boards)).markdown
    _, _, row, _ = samples_table(report).splitlines()
    assert cells(row) == ["moody", "0.000 (0.179)", ""]


def test_tables_show_agreement_and_chance(report: StabilityReport) -> None:
    head, _, moody, steady = samples_table(report).splitlines()
    assert cells(head) == ["criterion", "16 images", "64 images"]
    # Two of eight twice: 1 of 28 times both, 12 of 28 times one of three.
    assert cells(moody) == ["moody", "0.000 (0.179)", "0.333 (0.179)"]
    assert cells(steady) == ["steady", "1.000 (0.179)", "1.000 (0.179)"]
    _, _, first, second = counts_table(report, report.criteria[0]).splitlines()
    assert cells(first) == ["16 images", "1.000 (0.179)", "0.333 (0.179)"]
    assert cells(second) == ["64 images", "0.333 (0.179)", "1.000 (0.179)"]
    _, _, layer = layers_table(report).splitlines()
    assert cells(layer) == ["conv", "0.333 (0.179)", "1.000 (0.179)"]


def test_the_same_numbers_as_csv(report: StabilityReport) -> None:
    lines = list(csv.DictReader(io.StringIO(stability_csv([report]))))
    # For each of two criteria: three pairs of numbers and two numbers of images, the mean and the one layer.
    assert len(lines) == 2 * (3 + 2) * 2
    (line,) = [
        line
        for line in lines
        if line["criterion"] == "moody"
        and line["compared"].startswith("calibration samples")
        and line["layer"] == "conv"
        if line["images of the first"] == "64"
    ]
    assert float(line["IoU of removed channels, mean"]) == pytest.approx(1 / 3)
    assert float(line["IoU of random selections of these sizes"]) == pytest.approx((1 + 12 / 3) / 28)


def test_a_section_has_a_chart_and_explains_it(report: StabilityReport) -> None:
    section = stability_section(report, series_styles(report.boards), "-x")
    assert set(section.files) == {"stability-x.png"}
    assert "](stability-x.png)" in section.markdown
    assert "full agreement" in section.markdown
    assert "hypergeometric" in section.markdown
    assert "moody" in section.terminal
    assert counts_grid(report, report.criteria[0]).values == ((1, pytest.approx(1 / 3)), (pytest.approx(1 / 3), 1))
    (overlaps, chances), _ = sample_series(report, series_styles(report.boards))
    assert (overlaps.x, overlaps.y) == ((16, 64), (0, pytest.approx(1 / 3)))
    assert chances.y == pytest.approx((5 / 28, 5 / 28))


def test_one_sample_has_none_to_compare_with(records: list[RunRecord]) -> None:
    (report,) = stability_reports(leaderboards([record for record in records if record.inputs.seed == 0]))
    section = stability_section(report, series_styles(report.boards))
    assert section.files == {}
    assert "Agreement between calibration samples" not in section.markdown


def test_samples_with_networks_of_their_own_are_not_compared(records: list[RunRecord]) -> None:
    trained = [record.model_copy(update={"base_weights_hash": str(record.inputs.seed) * 64}) for record in records]
    (report,) = stability_reports(leaderboards(trained))
    assert all(found is None for criterion in report.criteria for found in criterion.between_samples.values())
    assert report.criteria[0].between_counts[16, 64].pairs == 2
    section = stability_section(report, series_styles(report.boards))
    assert section.files == {}
    assert "calibration samples are not compared" in section.markdown


def test_a_criterion_that_ends_by_its_own_rule_is_named(report: StabilityReport, make_record: MakeRecord) -> None:
    words = "the published rule decides how many channels are removed, whatever the target"
    assert words not in stability_section(report, series_styles(report.boards)).markdown
    records = [
        make_record("foad", entry={"label": "paper", "rule": Rule()}, setup={"kind": "stability"}, seed=seed)
        for seed in (0, 1)
    ]
    (ruled,) = stability_reports(leaderboards(records))
    assert f"- paper: {words}." in stability_section(ruled, series_styles(ruled.boards)).markdown
