from __future__ import annotations

from foad_plugins.allocation import GroupCurve
from foad_plugins.report.curve_views import HEIGHT, WIDTH, curve_views

from ...helpers.reports import HOSTILE, bare, group, report


def curve(name, losses=(0.01, 0.1, 1.0)):
    return GroupCurve(name, (name,), 8, 2, (2, 4, 8), (0.1,) * 3, losses, (False, True, False))


def test_points_are_on_one_logarithmic_scale():
    first, second = curve_views([group("a", curve=curve("a")), group("b", curve=curve("b", (1e-9, 0.0, 1e-3)))])
    assert first.line.split() == [f"30.0,{round(HEIGHT / 3, 1)}", f"60.0,{round(HEIGHT / 6, 1)}", "120.0,0.0"]
    assert first.measured == [(WIDTH / 2, round(HEIGHT / 6, 1))]
    assert second.line.split() == [f"30.0,{HEIGHT}", f"60.0,{HEIGHT}", f"120.0,{HEIGHT / 2}"]


def test_the_chosen_share_is_marked():
    chosen = group("a", curve=curve("a"))
    (view,) = curve_views([chosen, group("b")])
    count = len(chosen.selection.removed)
    assert (view.channels, view.removed) == (16, 2 * count)
    assert view.chosen is not None
    assert view.chosen[0] == WIDTH * count / 8


def test_the_page_holds_them(tmp_path):
    page = report(group(HOSTILE, curve=curve(HOSTILE)), bare("fc")).to_html(tmp_path / "report.html").read_text()
    assert page.count("<polyline") == 1
    assert HOSTILE not in page
    assert "<polyline" not in report(bare("fc")).to_html(tmp_path / "report.html").read_text()
