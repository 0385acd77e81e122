from __future__ import annotations

import pytest

from foad_plugins.allocation import GroupCurve
from foad_plugins.allocation.figure import sensitivity_figure

pytest.importorskip("matplotlib")


def curve(name, losses=(0.1, 0.2, 0.8), limit=None):
    return GroupCurve(name, (name,), 4, 2, (1, 2, 3), losses, losses, (False, True, False), limit)


def drawn(figure):
    figure.canvas.draw()
    return [axes for axes in figure.axes if axes.axison]


def test_one_panel_for_each_group_on_one_scale():
    panels = drawn(sensitivity_figure([curve(f"layer{number}.$name$") for number in range(8)]))
    assert len(panels) == 8
    assert len({axes.get_ylim() for axes in panels}) == 1
    line, points = panels[0].lines
    assert list(line.get_ydata()) == [0.1, 0.2, 0.8]
    assert (list(points.get_xdata()), list(points.get_ydata())) == ([0.5], [0.2])


def test_chosen_shares_are_marked():
    first, second = drawn(sensitivity_figure([curve("a"), curve("b")], [2, 0]))
    assert list(first.lines[-1].get_xdata()) == [0.5]
    assert list(first.lines[-1].get_ydata()) == [0.2]
    assert len(second.lines) == 2


@pytest.mark.parametrize("odd", [curve("a", (0.0, 0.0, 0.0)), curve("a", limit=1), curve("a", (0.0, 1e-12, 1.0))])
def test_odd_curves_are_drawn(odd):
    assert len(drawn(sensitivity_figure([odd], [1]))) == 1


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="no curve"):
        sensitivity_figure([])
