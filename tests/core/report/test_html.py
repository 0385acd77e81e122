from __future__ import annotations

import os
import re
import sys

import pytest
import torch

from foad_plugins import GroupReport, LayerWidth, PruneReport, Selection
from foad_plugins.report.data import ChannelPair, LatencyTrial
from foad_plugins.report.html import group_views

from ...helpers.html_page import HTMLPage
from ...helpers.reports import HOSTILE, bare, group, report

MINUS = "\N{MINUS SIGN}"


@pytest.fixture
def written(tmp_path):
    def write(what: PruneReport) -> HTMLPage:
        path = tmp_path / "folder" / "report.html"
        assert what.to_html(str(path)) == path
        return HTMLPage(path.read_text("utf-8"))

    return write


def test_the_page_has_the_values_of_the_report(written):
    shown = group(channels=8)
    page = written(
        report(
            shown,
            notes=("Calibrated on few images.",),
            compensated=("a.consumer", "b"),
            not_compensated=("depthwise",),
            latency_trials=(LatencyTrial(8, 0.43, 0.5),),
        )
    )
    removed_count = len(shown.selection.removed)
    for words in (
        f"8 → {8 - removed_count}",
        f"{MINUS}50.0 %",
        "1.2 M → 617.3 k",
        "4.1 k → 2.5 k",
        "42.10 ms → 20.30 ms",
        "median of a call with 32 images",
        "one multiply-add is one",
        "Calibrated on few images.",
        "2 layers compensate for removed inputs",
        "a.consumer, b",
        "1 layer lost inputs and cannot mix channels",
        "depthwise",
        "43.0 %",
        "verified (1)",
    ):
        assert words in page.text
    layers = [
        ["conv", "8", "5", f"{MINUS}37.5 %", "4.0 k", "2.5 k", f"{MINUS}37.5 %"],
        ["fc", "10", "10", "0 %", "80", "50", f"{MINUS}37.5 %"],
    ]
    assert [[cell for cell in row if cell] for row in page.tables[-1][1:]] == layers
    for channel, representative, similarity in zip(
        shown.selection.removed, shown.selection.representative, shown.selection.similarity, strict=True
    ):
        assert re.search(rf"\b{representative}: [^:]*\b{channel} \({similarity:.3f}\)", page.text)
    # Two strips and the map, and two maps a pair.
    assert len(page.all("img")) == 3 + 2 * len(shown.pairs)
    assert "dry run" not in page.text
    assert "left out" not in page.text


def test_nothing_is_fetched(written):
    page = written(report(group()))
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "object", "embed"}
        for name in ("src", "href", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:")
    policies = [attributes for attributes in page.all("meta") if attributes.get("http-equiv")]
    assert policies[0]["content"].startswith("default-src 'none'; img-src data:")


def test_names_and_notes_are_text(written):
    pairs = (ChannelPair(HOSTILE, 1, 0, 0.5, torch.rand(2, 4, 4)), ChannelPair("b", 1, 0, 0.5, torch.rand(2, 4, 4)))
    page = written(
        report(
            group(HOSTILE, layers=(HOSTILE, "\ud800"), pairs=pairs),
            layers=(LayerWidth(HOSTILE, 8, 5),),
            notes=(HOSTILE,),
            compensated=(HOSTILE,),
            not_compensated=(HOSTILE,),
        )
    )
    assert len(page.all("script")) == 1
    assert page.text.count(HOSTILE) == 7


def test_unknown_values_are_shown_as_unknown(written):
    nothing = {"flops_before": None, "flops_after": None, "latency_before": None, "latency_after": None}
    page = written(report(layers=(LayerWidth("a", 8, 8),), batch_size=None, **nothing))
    assert page.text.count("not known") == 2
    assert "FLOPs before" not in page.text
    assert "No group of channels was scored." in page.text
    assert "Nothing was removed." in page.text
    assert "None" not in page.text


def test_an_empty_report(written):
    page = written(PruneReport((), (), 0, 0, 0, 0, 0.0, 0.0, dry_run=True))
    assert "A dry run" in page.text
    assert "no layer" in page.text


@pytest.mark.parametrize(
    ("similarity", "words"),
    [
        (None, "was not measured"),
        (torch.ones(1, 1), "nothing to compare"),
        (torch.ones(0, 0), "nothing to compare"),
        (torch.full((3, 3), float("nan")), "cannot be drawn: similarity must not contain NaN"),
        (torch.full((3, 3), float("inf")), "cannot be drawn: similarity must be finite"),
        (torch.zeros(3, 3), "3 channels, similar ones"),
        (torch.ones(3, 3), "3 channels, similar ones"),
    ],
)
def test_groups_without_a_heat_map(written, similarity, words):
    page = written(report(bare("a", 3 if similarity is None else len(similarity), similarity)))
    assert words in page.text


def test_unusual_maps(written):
    maps = [torch.ones(2, 1, 1), torch.full((2, 3, 4), float("nan")), torch.rand(2, 500, 3).half()]
    pairs = tuple(ChannelPair("consumer", 1, 0, float("nan"), each) for each in maps)
    page = written(report(group(pairs=pairs)))
    assert "at the input of consumer" in page.text
    assert page.text.count("both constant on this image") == 1
    assert len(page.all("img")) == 9


def test_a_group_in_every_step_and_in_parts(written):
    page = written(report(group("a"), group("b", channel_groups=4), group("a", verification="not verifiable")))
    assert "a (1 of 2 with this name" in page.text
    assert "a (2 of 2 with this name" in page.text
    assert "4 equal channel groups" in page.text
    assert "not verifiable (1): a normalization" in page.text
    assert "not checked" not in page.text


def test_the_page_names_what_is_left_out(written, monkeypatch):
    monkeypatch.setattr("foad_plugins.report.html._MOST_PIXELS", 16)
    monkeypatch.setattr("foad_plugins.report.html._LEAST_PIXELS", 8)
    monkeypatch.setattr("foad_plugins.report.html._MOST_PAIRS", 2)
    monkeypatch.setattr("foad_plugins.report.html._MOST_REPRESENTATIVES", 3)
    shown = group(channels=40)
    text = written(report(shown)).text
    assert "Each dot is the mean over about 2.5 channels in each direction." in text
    assert f"{len(shown.pairs) - 2} more pairs are left out" in text
    assert f"{len(set(shown.selection.representative)) - 3} more representatives are left out" in text


def test_more_groups_have_smaller_pictures():
    few, many = group_views([group(channels=300)]), group_views([group(channels=300, pairs=group().pairs)] * 200)
    assert few[0].heat.pixels == 256
    assert many[0].heat.pixels < 150
    assert len(many[0].pairs) == 1


def test_the_kept_channels_in_words():
    selection = Selection((0, 1, 2, 5, 7, 8), (3, 4, 6), (0, 0, 5), (0.5, 0.5, 0.5), 1, 0.0)
    view = group_views([GroupReport("a", (), selection)])[0]
    assert view.kept == "0-2, 5, 7-8"
    assert view.representatives == [(0, [(3, 0.5), (4, 0.5)]), (5, [(6, 0.5)])]


def test_a_failure_keeps_the_old_page(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        report(group()).to_html(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_large_network_stays_small(tmp_path):
    table = torch.rand(2048, 2048)
    half = tuple(range(1024))
    selection = Selection(half, tuple(range(1024, 2048)), half, (0.5,) * 1024, 1, 0.0)
    pairs = tuple(ChannelPair("consumer", 1, 0, 0.5, torch.rand(2, 112, 112)) for _ in range(16))
    one = GroupReport("layer", ("layer",), selection, similarity=(table + table.T) / 2, pairs=pairs)
    assert report(*[one] * 60).to_html(tmp_path / "x.html").stat().st_size < 10e6


@pytest.mark.parametrize("name", ["jinja2", "PIL", "scipy"])
def test_the_missing_extra_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'HTML report .*; install them with: pip install "foad-plugins\[report\]"'):
        report(group()).to_html(tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []
