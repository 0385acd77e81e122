from __future__ import annotations

import json
from pathlib import Path

import pytest

from foad_plugins.benchmarks.records.schema import RunRecord
from foad_plugins.benchmarks.records.store import FailureStore, RecordStore
from foad_plugins.benchmarks.registry.registry import Spec
from foad_plugins.benchmarks.report import render
from tests.helpers.html_page import HTMLPage

from ...conftest import MakeRecord
from .conftest import HOSTILE, PageOf, failure_of


class _Page(HTMLPage):
    """The page of a leaderboard."""

    def column(self, heading: str, table: int = 0) -> list[str]:
        rows = self.tables[table]
        return [row[rows[0].index(heading)] for row in rows[1:]]

    def plots(self) -> list[dict]:
        return json.loads(self.scripts["plots"])


def page(path: Path) -> _Page:
    return _Page(path.read_text("utf-8"))


def test_the_table_shows_the_records(make_record: MakeRecord, page_of: PageOf) -> None:
    records = [make_record("l1", seed, (0.9, 0.3 + seed / 10, 0.8)) for seed in range(3)]
    records += [make_record("foad", seed, (0.9, 0.2, 0.85)) for seed in range(3)]
    shown = page(page_of(records))
    assert shown.column("criterion") == ["foad", "l1"]
    assert shown.column("rank") == ["1", "2"]
    assert shown.column("fine-tuned (%)") == ["85.00 ± 0.00", "80.00 ± 0.00"]
    # Student's t for two degrees of freedom is 4.303: 4.303 * 10 / sqrt(3).
    assert shown.column("before fine-tuning (%)") == ["20.00 ± 0.00", "40.00 ± 24.84"]
    assert shown.column("FLOPs (fvcore)") == ["1 M (-75.0%)"] * 2
    assert "Accuracy is on 400 test images" in shown.text


def test_the_report_writes_the_same_page(make_record: MakeRecord, page_of: PageOf, tmp_path: Path) -> None:
    elsewhere = failure_of(make_record("l1", setup={"suite": "other"}))
    records, failures = [make_record("l1")], [failure_of(make_record("foad")), elsewhere]
    alone = page_of(records, failures).read_bytes()
    folder = tmp_path / "results"
    RecordStore(folder / "records").save(records[0])
    for failure in failures:
        FailureStore(folder / "failures").save(failure)
    render(folder)
    assert (folder / "leaderboard.html").read_bytes() == alone


def test_nothing_is_fetched(comparison: list[RunRecord], page_of: PageOf) -> None:
    shown = page(page_of(comparison))
    addresses = [v for _, attributes in shown.elements for k, v in attributes.items() if k in ("src", "href", "action")]
    assert addresses == []
    policy = next(a["content"] for tag, a in shown.elements if "http-equiv" in a)
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_a_hostile_label_is_text(make_record: MakeRecord, page_of: PageOf) -> None:
    label = HOSTILE[:60]
    path = page_of([make_record(entry={"label": label})], [failure_of(make_record("foad"), HOSTILE)])
    shown = page(path)
    assert shown.column("criterion") == [label]
    assert "img" not in [tag for tag, _ in shown.elements]
    assert HOSTILE in shown.text
    # Four of the page's own: figures, two libraries and what runs.
    assert [tag for tag, _ in shown.elements].count("script") == 4
    names = [trace.get("name") for plot in shown.plots() for trace in plot["data"]]
    assert all("<" not in name for name in names if name)


def test_rows_that_lack_seeds_have_no_rank(comparison: list[RunRecord], page_of: PageOf) -> None:
    shown = page(page_of(comparison))
    ranks = dict(zip(shown.column("criterion"), shown.column("rank"), strict=True))
    assert ranks.pop("taylor †") == ""
    assert sorted(map(int, ranks.values())) == list(range(1, 14))
    rows = [a for tag, a in shown.elements if tag == "tr" and a.get("data-criterion") == "taylor"]
    assert [row["data-complete"] for row in rows] == ["no", "no"]


def test_failed_runs_stand_there_with_their_reason(make_record: MakeRecord, page_of: PageOf) -> None:
    here = failure_of(make_record("hrank", 1), "scores are NaN")
    elsewhere = failure_of(make_record("l1", setup={"suite": "other"}), "no data")
    text = page(page_of([make_record("l1")], [here, elsewhere])).text
    assert "scores are NaN" in text
    assert "no data" in text
    assert "a traceback" not in text


def test_failures_alone_make_a_page_too(make_record: MakeRecord, page_of: PageOf) -> None:
    assert "scores are NaN" in page(page_of([], [failure_of(make_record(), "scores are NaN")])).text


def test_targets_are_tables_of_one_section(comparison: list[RunRecord], page_of: PageOf) -> None:
    shown = page(page_of(comparison))
    assert [a["data-target"] for _, a in shown.elements if a.get("class") == "board"] == ["FLOPs -50%", "FLOPs -75%"]
    assert [a["data-suite"] for tag, a in shown.elements if tag == "section"] == ["tiny"]


def test_rankings_never_share_a_section(make_record: MakeRecord, page_of: PageOf) -> None:
    records = [make_record("l1", setup={"ranking": ranking}) for ranking in ("local", "global")]
    shown = page(page_of(records))
    assert sorted(a["data-ranking"] for tag, a in shown.elements if tag == "section") == ["global", "local"]
    assert [a["name"] for tag, a in shown.elements if tag == "select"] == ["ranking"]


def test_published_results_have_a_style_and_a_table_of_their_own(make_record: MakeRecord, page_of: PageOf) -> None:
    data, model = Spec(name="cifar10"), Spec(name="resnet56")
    shown = page(page_of([make_record("l1", conditions={"dataset": data, "model": model})]))
    ours, papers = shown.tables[0], shown.tables[-1]
    assert [row[0] for row in ours[1:]] == ["l1"]
    method, accuracy, *_ = next(row for row in papers if row[0] == "HRank")
    assert (method, accuracy) == ("HRank", "93.17")
    assert [a.get("class") for tag, a in shown.elements if tag == "table"][-1] == "published"
    last = shown.plots()[0]["data"][-1]
    assert (last["name"], last["visible"]) == ("as published", "legendonly")
    # The base of the records has 4 MFLOPs, and HRank took half.
    assert 2.0 in last["x"]


def test_headers_say_what_they_head(comparison: list[RunRecord], page_of: PageOf) -> None:
    heads = [attributes for tag, attributes in page(page_of(comparison)).elements if tag == "th"]
    assert {head.get("scope") for head in heads} == {"col", "row"}


def test_an_ablation_shows_t_and_s(ablation: list[RunRecord], page_of: PageOf) -> None:
    shown = page(page_of(ablation))
    rows = set(zip(shown.column("t"), shown.column("s"), strict=True))
    assert rows == {(t, s) for t in "1235" for s in ("0", "0.1", "0.2", "0.3", "0.4")}
    assert "rank" not in shown.tables[0][0]
    assert [trace["name"] for trace in shown.plots()[0]["data"]] == ["t=1", "t=2", "t=3", "t=5"]
    heats = [plot["data"][0] for plot in shown.plots() if plot["data"][0]["type"] == "heatmap"]
    accuracy, flops, params, channels, widths = heats
    # By hand: t=2, s=0.3 on two seeds that are one point apart.
    assert accuracy["z"][1][3] == pytest.approx(100 * (0.9 - 0.2 + 0.06 + 0.005))
    assert flops["z"][1][3] == pytest.approx(100 * (1 + 0.6) / 4)
    assert params["z"][1][3] == pytest.approx(25)
    assert channels["z"][1][3] == pytest.approx(100 * (32 - 6) / 32)
    assert len(widths["z"]) == 20
