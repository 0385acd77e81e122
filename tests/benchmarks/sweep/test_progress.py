from __future__ import annotations

from foad_plugins.benchmarks.suites.targets import Target
from foad_plugins.benchmarks.sweep.progress import Progress

from ..conftest import MakeRecord


def test_a_line_for_each_run(make_record: MakeRecord) -> None:
    lines: list[str] = []
    record = make_record("hrank", seed=2, accuracy=(0.9, 0.5, 0.8), one_shot_bn=0.6)
    with Progress("tiny", [record.inputs], quiet=False, write=lines.append) as progress:
        progress.finished(record, "1.5 s")
        progress.again()
        progress.failed(record.inputs, "it broke")
    assert lines == [
        "seed 2  hrank               base 90.00%, before fine-tuning 50.00%, BN adjusted 60.00%, fine-tuned 80.00%"
        "  (1.5 s)",
        "seed 2  hrank               FAILED: it broke",
    ]


def test_a_line_names_its_table_where_there_are_several(make_record: MakeRecord) -> None:
    lines: list[str] = []
    first = make_record(conditions={"target": Target(flops_reduction=0.5)}, accuracy=(0.9, 0.5, None))
    second = make_record(conditions={"target": Target(flops_reduction=0.7)})
    with Progress("tiny", [first.inputs, second.inputs], quiet=False, write=lines.append) as progress:
        progress.finished(first, "there already")
    assert lines == [
        "seed 0  l1                  FLOPs -50%, local, 16 images  base 90.00%, before fine-tuning 50.00%"
        "  (there already)"
    ]


def test_quiet_is_quiet(make_record: MakeRecord) -> None:
    record = make_record()
    with Progress("tiny", [record.inputs], quiet=True, write=lambda line: 1 / 0) as progress:
        progress.finished(record, "1.5 s")
        progress.failed(record.inputs, "it broke")
