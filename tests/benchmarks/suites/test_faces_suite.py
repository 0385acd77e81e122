"""A face suite from end to end, on people who do not exist."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn.modules.module import register_module_forward_pre_hook

from foad_plugins.benchmarks.datasets.evaluation import unpack
from foad_plugins.benchmarks.datasets.faces import lfw as faces
from foad_plugins.benchmarks.datasets.faces import pairs_dataset as face_pairs
from foad_plugins.benchmarks.models import build_model
from foad_plugins.benchmarks.records.store import RecordStore
from foad_plugins.benchmarks.registry.registry import Spec
from foad_plugins.benchmarks.report import render
from foad_plugins.benchmarks.suites.schema import Suite
from foad_plugins.benchmarks.sweep.runner import run_suite
from tests.helpers.faces_folder import PAIRED, PAIRS, make_faces

MODEL = """
from torch import nn
def embedder(width=8):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 2, bias=False), nn.BatchNorm2d(width), nn.PReLU(width),
        nn.Conv2d(width, width, 3, 2, groups=width, bias=False), nn.BatchNorm2d(width), nn.PReLU(width),
        nn.Conv2d(width, 6, 1, bias=False), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
    )
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    make_faces(folder / "lfw")
    (folder / "pairs.txt").write_text(PAIRS)
    (folder / "model.py").write_text(MODEL)
    spec = Spec(name=f"{folder / 'model.py'}:embedder")
    save_file(build_model(spec, seed=1).state_dict(), folder / "embedder.safetensors")
    return folder


def a_suite(root: Path, **recipe: Any) -> Suite:
    return Suite.model_validate(
        {
            "name": "faces",
            "description": "for tests",
            "conditions": {
                "dataset": {
                    "name": "lfw",
                    "settings": {"images": "lfw", "pairs": "pairs.txt", "align": "none", "size": [32, 32]},
                },
                "model": {"name": f"{root / 'model.py'}:embedder"},
                "base_weights": "embedder.safetensors",
                "finetune_recipe": {
                    "epochs": 3,
                    "objective": "distillation",
                    "learning_rate": 0.01,
                    "batch_size": 4,
                    "augmentation": "crop-flip-color",
                    "measure_every": 2,
                    **recipe,
                },
                "calibration_images": 4,
                "ignored_layers": ["6"],
                "tolerance": 0.2,
                "latency_batches": [1],
            },
            "targets": [{"flops_reduction": 0.4}],
            "criteria": [
                {"name": "foad", "compensate": "least_squares", "reestimate_bn": True},
                {"name": "l1", "compensate": "least_squares", "reestimate_bn": True},
            ],
            "seeds": 2,
            "reference": "foad",
        }
    )


@pytest.mark.filterwarnings("ignore::foad_plugins.InsufficientDataWarning")
def test_runs_are_judged_by_pairs_and_the_report_shows_it(root: Path, tmp_path: Path) -> None:
    suite, out = a_suite(root), tmp_path / "out"
    outcome = run_suite(suite, out, data_root=root, quiet=True)
    assert not outcome.failures
    assert outcome.executed == 4
    assert run_suite(suite, out, data_root=root, quiet=True).executed == 0
    for record in RecordStore(out / "records").all():
        assert record.inputs.setup.conditions.dataset.settings["subset"] == "unpaired"
        assert (record.train_images, record.test_images) == (8, 8)
        assert set(record.evaluations) == {"base", "one_shot", "one_shot_bn", "fine_tuned"}
        for stage, evaluation in record.evaluations.items():
            assert evaluation.accuracy == getattr(record.accuracy, stage)
            assert evaluation.accuracy == unpack(evaluation.verification.right, 8).mean()
            assert len(evaluation.verification.folds) == 2
        assert [epoch.test_accuracy is None for epoch in record.epochs] == [True, False, False]
    render(out)
    page = (out / "leaderboard.md").read_text()
    assert "TAR at FAR 0.001" in page
    assert "McNemar" in page
    assert "8 pairs" in page
    assert "subset unpaired" in page
    assert "without labels" in page
    html = (out / "leaderboard.html").read_text()
    assert "<caption>Verification, pair by pair</caption>" in html
    assert "<h4>True over false accept rate</h4>" in html


class Witness:
    """Sees every batch that any network gets, and what for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.brightest: dict[str, float] = defaultdict(lambda: -1.0)
        self._purpose = "learning"
        embed = face_pairs.embed

        def judged(*args: Any, **settings: Any) -> Any:
            self._purpose = "judging"
            try:
                return embed(*args, **settings)
            finally:
                self._purpose = "learning"

        monkeypatch.setattr(face_pairs, "embed", judged)

    def __call__(self, module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, torch.nn.Conv2d) and module.in_channels == 3:
            brightest = float(inputs[0].detach().mean((1, 2, 3)).max())
            self.brightest[self._purpose] = max(self.brightest[self._purpose], brightest)


@pytest.mark.filterwarnings("ignore::foad_plugins.InsufficientDataWarning")
@pytest.mark.parametrize("leaking", [False, True])
@pytest.mark.parametrize("subset", ["unpaired", "disjoint"])
def test_no_photograph_of_a_pair_reaches_a_network_but_to_be_judged(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaking: bool, subset: str
) -> None:
    """Photographs of pairs are bright, all others dark; whatever moves, mirrors or colors them."""
    for path in (root / "lfw").glob("*/*.png"):
        picture = Image.open(path)
        gray = Image.new("RGB", picture.size, (250,) * 3 if path.stem in PAIRED else (60,) * 3)
        Image.blend(picture, gray, 0.9).save(path)
    if leaking:
        # The test must fail where something leaks.
        monkeypatch.setattr(faces, "training_photos", lambda names, *rest: list(names))
        monkeypatch.setattr(faces, "drop_duplicates", lambda images, tested: list(range(len(images))))
    suite = a_suite(root, epochs=1, measure_every=1).model_copy(update={"seeds": 1})
    suite.conditions.dataset.settings["subset"] = subset
    witness = Witness(monkeypatch)
    hook = register_module_forward_pre_hook(witness)
    try:
        outcome = run_suite(suite, tmp_path / "out", data_root=root, quiet=True)
    finally:
        hook.remove()
    assert len(outcome.records) == 2
    assert witness.brightest["judging"] > 0.5
    assert (witness.brightest["learning"] > 0.2) == leaking


@pytest.mark.filterwarnings("ignore::foad_plugins.InsufficientDataWarning")
def test_embeddings_trained_by_arcface_are_pruned_and_trained_again(root: Path, tmp_path: Path) -> None:
    make_faces(root / "casia", {"0000045": 4, "0000099": 3, "0000102": 3})
    suite = a_suite(root, objective="arcface", epochs=2).model_dump()
    conditions = suite["conditions"]
    settings = conditions["dataset"]["settings"]
    del settings["subset"], settings["limit_pairs"]
    conditions["dataset"] = {"name": "faces-lfw", "settings": {**settings, "train": "casia"}}
    conditions["base_recipe"], conditions["base_weights"] = conditions["finetune_recipe"], None
    changed = Suite.model_validate({**suite, "seeds": 1})
    outcome = run_suite(changed, tmp_path / "out", data_root=root, quiet=True)
    assert [record.train_images for record in outcome.records] == [10, 10]
    assert {stage for record in outcome.records for stage in record.evaluations} >= {"base", "fine_tuned"}
    render(tmp_path / "out")
    assert "fine-tuning by ArcFace 2 epochs" in (tmp_path / "out" / "leaderboard.md").read_text("utf-8")
