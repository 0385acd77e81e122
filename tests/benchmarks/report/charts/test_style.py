from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from foad_plugins.benchmarks.report import Estimate, leaderboards
from foad_plugins.benchmarks.report.charts.interactive import scatter
from foad_plugins.benchmarks.report.charts.png import draw_series, spread_out
from foad_plugins.benchmarks.report.charts.series import Series
from foad_plugins.benchmarks.report.charts.style import PALETTE, SeriesStyle, percent_limits, series_styles
from foad_plugins.benchmarks.suites.targets import Target

from ...conftest import MakeRecord


def styles_of(*records: object) -> dict[str, SeriesStyle]:
    boards = leaderboards(records)
    style = series_styles(boards)
    return {row.criterion: style(row) for board in boards for row in board.rows}


def test_many_series_look_different() -> None:
    styles = [SeriesStyle(number) for number in range(63)]
    assert len({(style.color, style.marker) for style in styles}) == 63
    assert len({(style.css_color, style.symbol) for style in styles}) == 63


def test_png_and_page_share_color_and_marker() -> None:
    for number in range(12):
        style = SeriesStyle(number)
        series = Series(name="a", style=style, x=(1.0,), y=(2.0,))
        axes = Figure().subplots()
        draw_series(axes, series)
        (line,) = (line for line in axes.lines if line.get_marker() != "None")
        trace = scatter(series).to_plotly_json()
        light = {f"var(--c{place})": light for place, (light, _) in enumerate(PALETTE)}
        assert light[trace["marker"]["color"]] == line.get_color() == style.color
        assert (trace["marker"]["symbol"], line.get_marker()) == (style.symbol, style.marker)


def test_a_criterion_keeps_its_style_whatever_its_rank(make_record: MakeRecord) -> None:
    first, second = (
        styles_of(*(make_record(name, accuracy=(0.9, a, a)) for name, a in zip("ab", accuracies, strict=True)))
        for accuracies in ((0.3, 0.4), (0.4, 0.3))
    )
    assert first == second
    assert first["a"].color != first["b"].color


def test_a_criterion_has_one_style_in_all_tables_of_a_report(make_record: MakeRecord) -> None:
    other = {"conditions": {"target": Target(flops_reduction=0.7)}}
    boards = leaderboards([make_record("l1"), make_record("chip", **other), make_record("l1", **other)])
    style = series_styles(boards)
    found = {(row.criterion, style(row).number) for board in boards for row in board.rows}
    assert found == {("chip", 0), ("l1", 1)}


def test_random_shares_its_color_with_nobody(make_record: MakeRecord) -> None:
    names = ["chip", "foad", "fpgm", "hrank", "l1", "l2", "lamp", "random", "taylor", "thinet"]
    styles = styles_of(*map(make_record, names))
    assert len({style.color for style in styles.values()}) == len(names)


def test_compensation_fills_the_marker_of_its_criterion(make_record: MakeRecord) -> None:
    entry = {"label": "l1+ls", "compensate": "least_squares"}
    styles = styles_of(make_record("l1"), make_record("l1", entry=entry), make_record("foad"))
    assert styles["l1"].color == styles["l1+ls"].color != styles["foad"].color
    assert (styles["l1"].symbol, styles["l1+ls"].symbol) == ("square-open", "square")
    assert not styles_of(make_record("l1"))["l1"].is_hollow


def test_wide_intervals_do_not_squeeze_the_means() -> None:
    low, high = percent_limits([Estimate(0.80, 0.9, 2), Estimate(0.82, 0.001, 2), None])
    assert 77 < low < 79
    assert 83 < high < 85
    low, high = percent_limits([Estimate(0.80, 0.001, 3), Estimate(0.82, 0.001, 3)])
    assert 79.6 < low < 79.9
    assert percent_limits([Estimate(0.998, 0.1, 2)])[1] < 100.2
    assert percent_limits([None]) == (0, 100)


@given(st.lists(st.floats(0, 1), max_size=10))
def test_names_are_moved_apart_within_the_axes_and_in_their_order(values: list[float]) -> None:
    found = spread_out(values, gap=0.1)
    pairs = sorted(zip(values, found, strict=True))
    assert all(second[1] - first[1] >= 0.1 - 1e-9 for first, second in pairwise(pairs))
    assert all(-1e-9 <= each <= 1 + 1e-9 for each in found)


def test_names_with_room_stay_beside_their_points() -> None:
    assert spread_out([0.9, 0.1, 0.5], gap=0.1) == [0.9, 0.1, 0.5]
    assert spread_out([0.5, 0.5], gap=0.1) == pytest.approx([0.45, 0.55])
