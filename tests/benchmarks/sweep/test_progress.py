from __future__ import annotations

from foad_plugins.benchmarks.suites.targets import Target
from foad_plugins.benchmarks.sweep.progress import Progress

from ..conftest import MakeRecord


def test_a_line_for_each_run(make_record: MakeRecord) -> None:
    said: list[str] = []
    record = make_record("hrank", seed=2, accuracy=(0.9, 0.5, 0.8), one_shot_bn=0.6)
    with Progress("tiny", [record.inputs], quiet=False, say=said.append) as progress:
        progress.finished(record, "1.5 s")
        progress.again()
        progress.failed(record.inputs, "it broke")
    assert said == [
        "seed 2  hrank               base 90.00%, one-shot 50.00%, BN moved 60.00%, fine-tuned 80.00%  (1.5 s)",
        "seed 2  hrank               FAILED: it broke",
    ]


def test_of_several_tables_it_says_which(make_record: MakeRecord) -> None:
    said: list[str] = []
    first = make_record(conditions={"target": Target(flops_reduction=0.5)}, accuracy=(0.9, 0.5, None))
    second = make_record(conditions={"target": Target(flops_reduction=0.7)})
    with Progress("tiny", [first.inputs, second.inputs], quiet=False, say=said.append) as progress:
        progress.finished(first, "there already")
    assert said == [
        "seed 0  l1                  FLOPs -50%, local, 16 images  base 90.00%, one-shot 50.00%  (there already)"
    ]


def test_quiet_is_quiet(make_record: MakeRecord) -> None:
    record = make_record()
    with Progress("tiny", [record.inputs], quiet=True, say=lambda line: 1 / 0) as progress:
        progress.finished(record, "1.5 s")
        progress.failed(record.inputs, "it broke")
