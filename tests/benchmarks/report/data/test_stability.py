from __future__ import annotations

import csv
import io

import pytest
from matplotlib.figure import Figure

from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.records.schema import RunRecord
from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.report.data.stability import Study, studies
from foad_plugins.benchmarks.report.text.stability import (
    counts_table,
    draws_table,
    layers_table,
    stability_csv,
    stability_section,
)

from ...conftest import MakeRecord

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
def study(records: list[RunRecord]) -> Study:
    (study,) = studies(leaderboards(records))
    return study


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_numbers_of_images_are_compared_within_a_draw(study: Study) -> None:
    moody, steady = study.criteria
    assert (study.counts, study.draws) == ((16, 64), (0, 1))
    assert moody.between_counts[16, 64].overlap == pytest.approx(1 / 3)
    assert moody.between_counts[16, 64].pairs == 2
    assert moody.between_counts[16, 16].overlap == 1
    assert all(found.overlap == 1 for found in steady.between_counts.values())


def test_draws_are_compared_at_one_number_of_images(study: Study) -> None:
    moody, steady = study.criteria
    assert moody.between_draws[16].overlap == 0
    assert moody.between_draws[64].overlap == pytest.approx(1 / 3)
    assert moody.between_draws[64].pairs == 1
    assert all(found.overlap == 1 for found in steady.between_draws.values())


def test_targets_and_rankings_make_studies_of_their_own(records: list[RunRecord], make_record: MakeRecord) -> None:
    other = make_record(
        "moody",
        removed={"conv": (1,)},
        conditions={"calibration_images": 16},
        setup={"kind": "stability", "ranking": "global"},
    )
    first, second = studies(leaderboards([*records, other]))
    assert (len(first.criteria), len(second.criteria)) == (2, 1)
    assert first.title == "tiny: FLOPs -40%, local ranking"
    assert second.title == "tiny: FLOPs -40%, global ranking"


def test_missing_runs_are_told_and_what_is_left_is_compared(records: list[RunRecord]) -> None:
    (study,) = studies(leaderboards(records[:-1]))
    moody, steady = study.criteria
    assert (moody.missing, steady.missing) == (((64, 1),), ())
    assert moody.between_draws[64] is None
    assert moody.between_counts[16, 64].pairs == 1
    assert "**Runs are missing (moody 1)" in stability_section(study).markdown
    _, _, row, _ = draws_table(study, "github").splitlines()
    assert cells(row) == ["moody", "0.000 (0.179)", ""]


def test_tables_show_agreement_and_chance(study: Study) -> None:
    head, _, moody, steady = draws_table(study, "github").splitlines()
    assert cells(head) == ["criterion", "16 images", "64 images"]
    # Two of eight twice: 1 of 28 times both, 12 of 28 times one of three.
    assert cells(moody) == ["moody", "0.000 (0.179)", "0.333 (0.179)"]
    assert cells(steady) == ["steady", "1.000 (0.179)", "1.000 (0.179)"]
    _, _, first, second = counts_table(study, study.criteria[0], "github").splitlines()
    assert cells(first) == ["16 images", "1.000 (0.179)", "0.333 (0.179)"]
    assert cells(second) == ["64 images", "0.333 (0.179)", "1.000 (0.179)"]
    _, _, layer = layers_table(study, "github").splitlines()
    assert cells(layer) == ["conv", "0.333 (0.179)", "1.000 (0.179)"]


def test_the_same_numbers_as_csv(study: Study) -> None:
    lines = list(csv.DictReader(io.StringIO(stability_csv([study]))))
    # For each of two criteria: three pairs of numbers and two numbers of images, the mean and the one layer.
    assert len(lines) == 2 * (3 + 2) * 2
    (line,) = [
        line
        for line in lines
        if line["criterion"] == "moody" and line["compared"].startswith("draws") and line["layer"] == "conv"
        if line["images of the first"] == "64"
    ]
    assert float(line["IoU of removed channels, mean"]) == pytest.approx(1 / 3)
    assert float(line["IoU of random selections of these sizes"]) == pytest.approx((1 + 12 / 3) / 28)


def test_a_section_has_maps_and_says_what_they_mean(study: Study, figures: list[Figure]) -> None:
    section = stability_section(study, "-x")
    assert set(section.files) == {"stability_images-x.png", "stability_draws-x.png", "stability_layers-x.png"}
    assert all(f"]({name})" in section.markdown for name in section.files)
    assert "full agreement" in section.markdown
    assert "hypergeometric" in section.terminal
    maps = [axes for axes in figures[0].axes if axes.images]
    assert [axes.get_title() for axes in maps] == ["moody\nchance 0.18", "steady\nchance 0.18"]
    assert maps[0].images[0].get_array().tolist() == [[1, pytest.approx(1 / 3)], [pytest.approx(1 / 3), 1]]


def test_one_draw_has_no_draws_to_compare(records: list[RunRecord], figures: list[Figure]) -> None:
    (study,) = studies(leaderboards([record for record in records if record.inputs.seed == 0]))
    section = stability_section(study)
    assert set(section.files) == {"stability_images.png"}
    assert "different draws of as many" not in section.markdown


def test_draws_with_networks_of_their_own_are_not_compared(records: list[RunRecord]) -> None:
    trained = [record.model_copy(update={"base_weights_hash": str(record.inputs.seed) * 64}) for record in records]
    (study,) = studies(leaderboards(trained))
    assert all(found is None for criterion in study.criteria for found in criterion.between_draws.values())
    assert study.criteria[0].between_counts[16, 64].pairs == 2
    section = stability_section(study)
    assert set(section.files) == {"stability_images.png"}
    assert "draws are not compared" in section.markdown


def test_an_entry_that_ends_by_its_own_rule_is_named(study: Study, make_record: MakeRecord) -> None:
    words = "the published rule, whatever the target"
    assert words not in stability_section(study).markdown
    records = [
        make_record("foad", entry={"label": "paper", "rule": Rule()}, setup={"kind": "stability"}, seed=seed)
        for seed in (0, 1)
    ]
    (ruled,) = studies(leaderboards(records))
    assert f"- paper: how many channels go is decided by {words}." in stability_section(ruled).markdown
