from __future__ import annotations

import pytest

from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.records.environment import Environment
from foad_plugins.benchmarks.records.schema import BestEpoch, Latency
from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.report.text.notes import notes, warnings
from foad_plugins.benchmarks.report.text.tables import table
from foad_plugins.benchmarks.suites.targets import Target

from ...conftest import MakeRecord
from ..conftest import MakeFailure


def text_of(*records: object) -> str:
    return "\n".join(notes(leaderboards(records)[0]))


def test_what_the_interval_the_unit_and_the_target_are(make_record: MakeRecord) -> None:
    text = text_of(*(make_record(seed=seed) for seed in (0, 2, 3)))
    assert "± is half a 95 % confidence interval of the mean over 3 seeds (0, 2, 3), by Student's t: 4.30" in text
    assert "With so few seeds the interval itself is uncertain." in text
    assert "400 test images; one image is 0.25 points" in text
    assert "one multiply-add is one FLOP" in text
    assert "Target: FLOPs -40%, within 10% of the base model's FLOPs." in text
    assert "foad-plugins 1, torch 2, torch-pruning 3, fvcore 4; Python 3, Linux; cpu, threads: 1." in text
    assert "all seeds" not in text
    assert "SMOKE" not in text
    assert "Commit" not in text
    assert "uncertain" not in text_of(*(make_record(seed=seed) for seed in range(5)))


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Target(params_reduction=0.871), "Target: params -87.1%, within 10% of the base model's parameters."),
        (
            Target(params_reduction=0.871, flops_reduction=0.637),
            "Target: FLOPs -63.7% and params -87.1%, within 10% of the base model's FLOPs and parameters.",
        ),
        (
            Target(operating_point=Rule(neighbors=2, threshold=0.1)),
            "Target: FLOPs of the published rule, t=2 and s=0.1, within 10% of the base model's FLOPs.",
        ),
    ],
)
def test_every_kind_of_target(target: Target, text: str, make_record: MakeRecord) -> None:
    assert text in text_of(make_record(conditions={"target": target}))


def test_one_seed_claims_no_spread(make_record: MakeRecord) -> None:
    text = text_of(make_record())
    assert "One seed (0), so the spread is not known." in text
    assert "interval" not in text.replace("Where intervals overlap", "")


def test_the_stages_that_were_measured(make_record: MakeRecord) -> None:
    plain = text_of(make_record("l1"), make_record("foad"))
    assert "BN adjusted" not in plain
    assert "Δ" not in plain
    assert "Best epoch" not in plain
    shared = {"setup": {"reference": "foad", "pruner": "prune"}}
    record = make_record("l1", one_shot_bn=0.6, **shared)
    best = record.accuracy.model_copy(update={"best_epoch": BestEpoch(epoch=1, accuracy=0.85)})
    more = text_of(record.model_copy(update={"accuracy": best}), make_record("foad", one_shot_bn=0.6, **shared))
    assert "BN adjusted: the same, with these statistics adjusted on the calibration images." in more
    assert "Fine-tuning starts from there." in more
    assert "accuracy after the last epoch" in more
    assert "chosen on the test images that it is measured on, and therefore too high" in more
    assert (
        "Δ is the difference in accuracy, fine-tuned, to foad, seed by seed: on the same calibration images and "
        "order of training. Where its interval contains 0, no difference has been shown." in more
    )


def test_how_channels_were_ranked(make_record: MakeRecord) -> None:
    assert "One pruning ratio for all layers" in text_of(make_record())
    ranked = {
        ranking: text_of(make_record(setup={"pruner": "prune", "ranking": ranking}))
        for ranking in ("local", "global", "isomorphic", "sensitivity")
    }
    assert "The same share of the channels of every coupled group is removed" in ranked["local"]
    assert "ranked together, so that each criterion chooses its own widths" in ranked["global"]
    assert "groups of the same structure" in ranked["isomorphic"]
    assert "how much the output changes" in ranked["sensitivity"]
    both = Target(params_reduction=0.8, flops_reduction=0.6)
    assert "the share that is removed is another one for groups with many parameters" in text_of(
        make_record(conditions={"target": both}, setup={"pruner": "prune"})
    )
    rule = make_record("foad", entry={"label": "paper", "rule": Rule()})
    assert "paper: the published rule decides in each layer" in text_of(rule, make_record("l1"))


def test_a_comparison_without_fine_tuning(make_record: MakeRecord) -> None:
    recipe = make_record().inputs.setup.conditions.finetune_recipe.model_copy(update={"epochs": 0})
    shared = {"accuracy": (0.9, 0.5, None), "conditions": {"finetune_recipe": recipe}, "setup": {"reference": "foad"}}
    for one_shot_bn, stage in ((None, "before fine-tuning"), (0.6, "BN adjusted")):
        records = [make_record(name, one_shot_bn=one_shot_bn, **shared) for name in ("foad", "l1")]
        assert "fine-tuned" not in table(leaderboards(records)[0])
        text = text_of(*records)
        assert "; no fine-tuning; " in text
        assert "Fine-tuned" not in text
        assert f"Sorted by mean accuracy, {stage}." in text
        assert (
            f"Δ is the difference in accuracy, {stage}, to foad, seed by seed: on the same calibration images" in text
        )


def test_given_weights_and_what_the_interval_leaves_out(make_record: MakeRecord) -> None:
    conditions = {"base_recipe": None, "base_weights": "weights/a.safetensors", "ignored_layers": ("stem", "*.3")}
    text = text_of(make_record(conditions=conditions, setup={"weights_hash": "a1" * 32}))
    assert f"base weights from weights/a.safetensors (SHA-256 {'a1' * 8}); fine-tuning 1 epoch from" in text
    assert "one standard error of 90.00% on 400 images is 1.5 points" in text
    assert "Layers that keep all their channels: stem, *.3." in text


def test_the_augmentation(make_record: MakeRecord) -> None:
    recipe = make_record().inputs.setup.conditions.finetune_recipe
    recipe = recipe.model_copy(update={"augmentation": "crop-flip", "epochs": 2})
    text = text_of(make_record(conditions={"finetune_recipe": recipe}))
    assert "fine-tuning 2 epochs from learning rate 0.02, random crops and flips;" in text


def test_where_times_were_taken_and_memory_was_seen(make_record: MakeRecord) -> None:
    place = Environment(python="3", platform="Linux", processor="AVX2", threads=2, git_commit="a" * 40 + "-dirty")
    latency = (Latency(batch_size=1, threads=2, before=0.2, after=0.1),)
    text = text_of(make_record(environment=place, latency=latency, peak_bytes_to_score=5))
    assert "base and pruned model interleaved, on cpu (AVX2), threads: 2; speed-up is" in text
    assert "growth of the process" in text
    assert "Commit of the harness: aaaaaaaaaaaa with changes." in text
    gpu = {"device": "cuda", "devices": 2, "precision": "bf16-mixed"}
    text = text_of(make_record(setup=gpu, environment=place, latency=latency, peak_bytes_to_score=5))
    assert "on 2 x cuda (AVX2), threads: 2, precision bf16-mixed; speed-up" in text
    assert "allocations of torch" in text


def test_smoke_runs_missing_seeds_and_failures_come_first(make_record: MakeRecord, make_failure: MakeFailure) -> None:
    smoke = {"conditions": {"limit_steps": 2}}
    records = [make_record("l1", **smoke), make_record("l1", seed=1, **smoke), make_record("foad", **smoke)]
    failures = [make_failure("foad", seed=1, reason="scores are NaN", **smoke)]
    board = leaderboards(records, failures)[0]
    first = notes(board)[:3]
    assert first == warnings(board)
    assert first[0].startswith("SMOKE RUN: no epoch took more than 2 steps.")
    assert "Those marked † lack some, so that their means are over other seeds. They follow the others" in first[1]
    assert first[2] == "Failed: foad, seed 1: scores are NaN"
