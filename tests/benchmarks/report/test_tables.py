from __future__ import annotations

import pytest

from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.report.notes import notes
from foad_plugins.benchmarks.report.tables import _short, markdown_section, table

from ..conftest import MakeRecord


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_markdown_row_says_what_the_records_say(make_record: MakeRecord) -> None:
    records = [make_record(seed=seed, accuracy=(0.9, 0.3 + seed / 10, 0.8)) for seed in range(3)]
    head, _, row = table(leaderboards(records)[0], "github").splitlines()
    assert dict(zip(cells(head), cells(row), strict=True)) == {
        "criterion": "l1",
        "seeds": "3",
        "base acc. (%)": "90.00 ± 0.00",
        "one-shot acc. (%)": "40.00 ± 10.00",
        "fine-tuned acc. (%)": "80.00 ± 0.00",
        "params": "500 (-75.0%)",
        "FLOPs (fvcore)": "1 M (-75.0%)",
        "score time (s)": "0.250",
    }


def test_a_missing_figure_leaves_its_cell_blank(make_record: MakeRecord) -> None:
    _, _, row = table(leaderboards([make_record(accuracy=(0.9, 0.5, None))])[0], "github").splitlines()
    assert cells(row)[2:5] == ["90.00", "50.00", ""]


def test_columns_come_with_what_was_measured(make_record: MakeRecord) -> None:
    shared = {"setup": {"reference": "l1+ls"}}
    records = [
        make_record("l1", seed=seed, accuracy=(0.9, 0.2, 0.7 + seed / 10), one_shot_bn=0.6, entry=entry, **shared)
        for entry in ({}, {"label": "l1+ls", "compensate": "least_squares"})
        for seed in range(2)
    ]
    records += [make_record("fpgm", accuracy=(0.9, 0.1, 0.6), **shared)]
    head, _, *rows = table(leaderboards(records)[0], "github").splitlines()
    columns = cells(head)[:8]
    assert columns == [
        "criterion",
        "compensation",
        "seeds",
        "base acc. (%)",
        "one-shot acc. (%)",
        "BN moved acc. (%)",
        "fine-tuned acc. (%)",
        "Δ l1+ls (points)",
    ]
    assert [cells(row)[:8] for row in rows] == [
        ["l1", "none", "2", "90.00 ± 0.00", "20.00 ± 0.00", "60.00 ± 0.00", "75.00 ± 7.07", "+0.00 ± 0.00"],
        ["l1+ls", "least squares", "2", "90.00 ± 0.00", "20.00 ± 0.00", "60.00 ± 0.00", "75.00 ± 7.07", ""],
        ["fpgm", "none", "1", "90.00", "10.00", "", "60.00", "-10.00"],
    ]


def test_a_comparison_without_fine_tuning_has_no_such_column(make_record: MakeRecord) -> None:
    recipe = make_record().inputs.setup.conditions.finetune_recipe.model_copy(update={"epochs": 0})
    shared = {"accuracy": (0.9, 0.5, None), "conditions": {"finetune_recipe": recipe}, "setup": {"reference": "foad"}}
    for one_shot_bn, stage in ((None, "one-shot"), (0.6, "BN moved")):
        records = [make_record(name, one_shot_bn=one_shot_bn, **shared) for name in ("foad", "l1")]
        board = leaderboards(records)[0]
        assert "fine-tuned" not in table(board)
        text = "\n".join(notes(board))
        assert "; no fine-tuning; " in text
        assert "Fine-tuning" not in text
        assert f"Sorted by mean {stage} accuracy." in text
        assert f"Δ is the difference in {stage} accuracy to foad, seed by seed: on the same calibration images." in text


def test_the_terminal_table_has_the_same_cells(make_record: MakeRecord) -> None:
    lines = table(leaderboards([make_record("foad"), make_record("l1")])[0]).splitlines()
    assert len({len(line.rstrip()) for line in lines[1:]}) == 1
    assert lines[2].split() == [
        "foad",
        "1",
        "90.00",
        "50.00",
        "80.00",
        "500",
        "(-75.0%)",
        "1",
        "M",
        "(-75.0%)",
        "0.250",
    ]


def test_notes_say_what_the_spread_the_unit_and_the_target_are(make_record: MakeRecord) -> None:
    text = "\n".join(notes(leaderboards([make_record(seed=seed) for seed in (0, 2)])[0]))
    assert "± is the sample standard deviation over 2 seeds (0, 2)." in text
    assert "400 test images; one image is 0.25 points" in text
    assert "one multiply-add is one FLOP" in text
    assert "Target: -40%, within 10%" in text
    assert "foad-plugins 1, torch 2, torch-pruning 3, fvcore 4; cpu, threads: 1." in text
    assert "all seeds yet" not in text


def test_notes_explain_the_stages_that_were_measured(make_record: MakeRecord) -> None:
    plain = "\n".join(notes(leaderboards([make_record("l1"), make_record("foad")])[0]))
    assert "BN moved" not in plain
    assert "Δ" not in plain
    shared = {"setup": {"reference": "foad", "pruner": "prune"}}
    more = "\n".join(notes(leaderboards([make_record(name, one_shot_bn=0.6, **shared) for name in ("l1", "foad")])[0]))
    assert "BN moved: the same, with these statistics moved by the calibration images." in more
    assert "Fine-tuning starts from there." in more
    assert (
        "Δ is the difference in fine-tuned accuracy to foad, seed by seed: on the same calibration images and "
        "order of training." in more
    )
    assert "One pruning ratio for all layers" in plain
    assert "Every coupled group loses the same share of its channels" in more


def test_notes_of_given_weights_name_them_and_what_the_spread_leaves_out(make_record: MakeRecord) -> None:
    conditions = {"base_recipe": None, "base_weights": "weights/a.safetensors"}
    board = leaderboards([make_record(conditions=conditions, setup={"weights_hash": "a1" * 32})])[0]
    text = "\n".join(notes(board))
    assert f"base weights from weights/a.safetensors (SHA-256 {'a1' * 8}); fine-tuning 1 epoch from" in text
    assert "one standard error of 90.00% on so many images is 1.5 points" in text


def test_notes_name_the_augmentation(make_record: MakeRecord) -> None:
    recipe = make_record().inputs.setup.conditions.finetune_recipe
    recipe = recipe.model_copy(update={"augmentation": "crop-flip", "epochs": 2})
    text = "\n".join(notes(leaderboards([make_record(conditions={"finetune_recipe": recipe})])[0]))
    assert "fine-tuning 2 epochs from learning rate 0.02, random crops and flips;" in text


def test_notes_of_one_seed_claim_no_spread(make_record: MakeRecord) -> None:
    text = "\n".join(notes(leaderboards([make_record()])[0]))
    assert "One seed (0), so no spread is known." in text
    assert "standard deviation" not in text


def test_notes_warn_of_missing_seeds(make_record: MakeRecord) -> None:
    board = leaderboards([make_record("l1"), make_record("l1", seed=1), make_record("foad")])[0]
    assert "Not every criterion has all seeds yet" in notes(board)[0]


def test_a_section_shows_the_plot_beside_the_file(make_record: MakeRecord) -> None:
    section = markdown_section(leaderboards([make_record()])[0], "plot.png")
    assert section.startswith("## tiny\n\n| criterion")
    assert "![accuracy over FLOPs](plot.png)" in section
    assert section.count("\n- ") == len(notes(leaderboards([make_record()])[0]))


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
    assert _short(count) == text
