from __future__ import annotations

import csv
import io
import json

import pytest

from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.records.schema import BestEpoch, Cost, Latency
from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.report.text.csv_files import runs_csv, summary_csv, widths_csv

from ...conftest import MakeRecord
from ..conftest import MakeFailure


def lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_line_for_each_run_in_full(make_record: MakeRecord) -> None:
    latency = (Latency(batch_size=1, threads=1, before=1 / 3, after=0.1),)
    record = make_record("l1", seed=3, accuracy=(0.9, 1 / 3, 0.8), latency=latency, peak_bytes_to_score=77)
    best = record.accuracy.model_copy(update={"best_epoch": BestEpoch(epoch=2, accuracy=0.85)})
    record = record.model_copy(update={"accuracy": best})
    rule = make_record("foad", entry={"label": "t=2, |s|", "rule": Rule(neighbors=2, threshold=0.5)})
    first, second = lines(runs_csv(leaderboards([record, rule])))
    assert (first["criterion"], first["seed"], first["status"]) == ("t=2, |s|", "0", "done")
    assert (first["rule t"], first["rule s"], first["best epoch"]) == ("2", "0.5", "")
    assert float(second["accuracy before fine-tuning (fraction)"]) == 1 / 3
    assert float(second["latency before, batch 1 (s)"]) == 1 / 3
    assert (second["best epoch"], second["peak memory to score (bytes)"]) == ("2", "77")
    assert second["accuracy BN adjusted (fraction)"] == ""
    assert second["FLOPs (multiply-adds of one image) after"] == "1000000"
    assert json.loads(second["settings (JSON)"]) == {}


def test_failed_runs_have_a_reason_and_no_figures(make_record: MakeRecord, make_failure: MakeFailure) -> None:
    boards = leaderboards([make_record("l1")], [make_failure("foad", reason='a "bad", one')])
    elsewhere = make_failure("chip", setup={"ranking": "global"})
    done, failed, without_results = lines(runs_csv(boards, [elsewhere]))
    assert (done["status"], failed["status"], without_results["status"]) == ("done", "failed", "failed")
    assert failed["reason"] == 'a "bad", one'
    assert failed["accuracy base (fraction)"] == failed["time to score (s)"] == ""
    assert (without_results["criterion"], without_results["ranking"]) == ("chip", "global")


def test_a_line_for_each_row(make_record: MakeRecord) -> None:
    shared = {"setup": {"reference": "foad"}}
    records = [
        make_record(name, seed=seed, accuracy=(0.9, 0.5, value + seed / 100), **shared)
        for name, value in (("foad", 0.7), ("l1", 0.8))
        for seed in range(2)
    ]
    records.append(make_record("fpgm", **shared))
    first, second, third = lines(summary_csv(leaderboards(records)))
    assert [line["place"] for line in (first, second, third)] == ["1", "2", ""]
    assert (third["criterion"], third["seeds"], third["seeds missing"]) == ("fpgm", "1", "1")
    assert float(first["accuracy fine-tuned, mean (fraction)"]) == pytest.approx(0.805)
    assert float(first["accuracy fine-tuned, half 95 % interval (fraction)"]) == pytest.approx(0.0635, rel=1e-3)
    assert float(first["accuracy difference to foad, mean (fraction)"]) == pytest.approx(0.1)
    assert second["accuracy difference to foad, mean (fraction)"] == ""
    assert third["accuracy fine-tuned, half 95 % interval (fraction)"] == ""
    assert first["FLOPs, mean (multiply-adds of one image)"] == "1000000"


def test_a_line_for_each_layer(make_record: MakeRecord) -> None:
    records = [
        make_record(seed=seed, after=Cost(params=500, flops=1_000_000, widths={"conv": 4 + seed})) for seed in range(2)
    ]
    (line,) = lines(widths_csv(leaderboards(records)))
    assert (line["layer"], line["output channels before"], line["output channels after, mean"]) == ("conv", "8", "4.5")
