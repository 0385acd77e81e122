from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.records.schema import Accuracies, BestEpoch, Cost, FailureRecord, Latency, RunRecord
from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.report.html.page import page_bytes
from foad_plugins.benchmarks.suites.targets import Target
from foad_plugins.benchmarks.training.train import Epoch

from ...conftest import MakeRecord

PageOf: TypeAlias = Callable[..., Path]
HOSTILE = "<script>document.title='hit'</script><img src=x onerror=\"document.title='hit'\">"
LAYERS = {"features.a.conv": 8, "features.b.conv": 8, "features.c.conv": 16}


def failure_of(record: RunRecord, reason: str = "NaNs in the scores of conv1") -> FailureRecord:
    return FailureRecord(
        inputs=record.inputs,
        environment=record.environment,
        created=datetime(2024, 1, 2, tzinfo=timezone.utc),
        reason=reason,
        details="a traceback that no page shows",
    )


@pytest.fixture
def page_of(tmp_path: Path) -> PageOf:
    """A function that writes the page of records and failures and returns its path."""

    def write(records: list[RunRecord], failures: list[FailureRecord] = ()) -> Path:
        boards = leaderboards(records, failures)
        known = {board.setup.key for board in boards}
        path = tmp_path / "leaderboard.html"
        path.write_bytes(page_bytes(boards, [each for each in failures if each.inputs.setup.key not in known]))
        return path

    return write


@pytest.fixture
def comparison(make_record: MakeRecord) -> list[RunRecord]:
    """Fourteen criteria, two targets, three seeds, one of which a criterion lacks, and all there is to measure."""
    names = ("chip", "foad", "foad-backward", "fpgm", "hrank", "l1", "l2", "lamp", "mine", "random", "taylor", "thinet")
    entries: list[dict[str, Any]] = [{"label": name} for name in (*names, HOSTILE[:60])]
    entries.append({"label": "l1+ls", "compensate": "least_squares"})
    draw = random.Random(0)
    found = []
    for reduction in (0.5, 0.75):
        for place, entry in enumerate(entries):
            for seed in range(3):
                if (entry["label"], seed) == ("taylor", 2):
                    continue
                found.append(_measured(make_record, reduction, place, entry, seed, draw.random))
    return found


def _measured(
    make_record: MakeRecord, reduction: float, place: int, entry: dict[str, Any], seed: int, draw: Callable[[], float]
) -> RunRecord:
    rest = 1 - reduction + 0.004 * draw()
    last = 0.93 - 0.1 * reduction - 0.004 * place + 0.004 * draw()
    epochs = tuple(
        Epoch(train_loss=1 / (epoch + 1), test_accuracy=last - 0.02 * (4 - epoch), seconds=1.0) for epoch in range(5)
    )
    settings = {"neighbors": place + 1} if entry["label"] not in ("l1", "l1+ls") else {}
    return make_record(
        "foad" if settings else "l1",
        seed,
        entry={**entry, "settings": settings},
        conditions={"target": Target(flops_reduction=reduction)},
        setup={"reference": "foad"},
        accuracy=(0.94, 0.3, last),
    ).model_copy(
        update={
            "accuracy": Accuracies(
                base=0.94,
                one_shot=0.3 + 0.03 * place + 0.05 * draw(),
                one_shot_bn=0.7 + 0.01 * place,
                fine_tuned=last,
                best_epoch=BestEpoch(epoch=5, accuracy=last),
            ),
            "epochs": epochs,
            "before": Cost(params=2000, flops=4_000_000, widths=LAYERS),
            "after": Cost(params=int(2000 * rest), flops=int(4_000_000 * rest), widths=_widths(rest, place)),
            "latency": (Latency(batch_size=1, threads=1, before=0.004, after=0.003 + 0.0001 * place),),
            "seconds_to_score": 0.001 * 2**place,
            "peak_bytes_to_score": 10_000 * (place + 1),
        }
    )


def _widths(rest: float, place: int) -> dict[str, int]:
    return {layer: max(1, int(width * rest) - (place + i) % 3) for i, (layer, width) in enumerate(LAYERS.items())}


@pytest.fixture
def stability(make_record: MakeRecord) -> list[RunRecord]:
    """Two criteria on 16, 64 and 256 images, three seeds; the second chooses at random."""
    found = []
    for count in (16, 64, 256):
        for seed in range(3):
            for name in ("foad", "hrank"):
                draw = random.Random(f"{count}{seed}{name}")
                removed = {
                    layer: tuple(range(width // 2) if name == "foad" else draw.sample(range(width), width // 2))
                    for layer, width in LAYERS.items()
                }
                found.append(
                    make_record(
                        name,
                        seed,
                        (0.94, 0.5, None),
                        conditions={"calibration_images": count},
                        setup={"kind": "stability"},
                        before=Cost(params=2000, flops=4_000_000, widths=LAYERS),
                        removed=removed,
                    )
                )
    return found


@pytest.fixture
def ablation(make_record: MakeRecord) -> list[RunRecord]:
    """The published rule at four t and five s."""
    return [
        make_record(
            "foad",
            seed,
            (0.94, 0.9 - 0.1 * t + 0.2 * s + 0.01 * seed, None),
            entry={"rule": Rule(neighbors=t, threshold=s), "label": f"t={t} s={s}"},
            conditions={"target": Target()},
            setup={"kind": "ablation"},
            before=Cost(params=2000, flops=4_000_000, widths=LAYERS),
            after=Cost(params=500, flops=int(1e6 * (1 + 2 * s)), widths={layer: w - t for layer, w in LAYERS.items()}),
            removed={layer: tuple(range(t)) for layer in LAYERS},
            flops_target=None,
        )
        for t in (1, 2, 3, 5)
        for s in (0.0, 0.1, 0.2, 0.3, 0.4)
        for seed in range(2)
    ]
