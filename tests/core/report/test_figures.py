from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest

from foad_plugins import LayerWidth
from foad_plugins.allocation import GroupCurve
from foad_plugins.report.figures import report_figure

from ...helpers.reports import HOSTILE, bare, group, report

pytest.importorskip("matplotlib")


def drawn(figure):
    """The picture as pixels; drawing is where layouts and fonts fail."""
    from matplotlib.image import imread

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    buffer.seek(0)
    pixels = imread(buffer)
    assert np.mean(pixels[..., :3].min(-1) < 0.9) > 0.005
    return pixels


def bars(axes):
    return [[bar.get_width() for bar in container] for container in axes.containers]


def test_bars_have_the_lengths_of_the_report():
    figure = report(layers=(LayerWidth("a", 8, 5, 4_000_000, 2_500_000), LayerWidth("b", 9, 9, None, None))).plot()
    widths, flops = figure.axes
    assert bars(widths) == [[8, 9], [5, 9]]
    assert bars(flops) == [[4.0], [2.5]]
    assert "MFLOPs" in flops.get_xlabel()
    assert [label.get_text() for label in widths.get_yticklabels()] == ["a", "b"]
    assert widths.get_ylim()[0] > widths.get_ylim()[1]
    drawn(figure)


def test_without_any_flops_there_is_one_panel():
    assert len(report(layers=(LayerWidth("a", 8, 5),)).plot().axes) == 1


@pytest.mark.parametrize("count", [0, 1, 5, 160])
def test_the_figure_grows_with_the_layers(count):
    layers = tuple(
        LayerWidth(f"backbone.stage{i}.blocks.{i}.attention.projection.inner", 64, i, 10, i) for i in range(count)
    )
    figure = report_figure(report(layers=layers))
    pixels = drawn(figure)
    assert figure.get_figheight() >= 0.2 * count
    assert pixels.shape[0] < 50 * (0.25 * count + 3)


def test_names_are_taken_literally():
    drawn(report(layers=(LayerWidth(HOSTILE, 8, 5, 10, 5), LayerWidth("$\\frac", 8, 5, 10, 5))).plot())


def test_a_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "foad-plugins\[plot\]"'):
        report().plot()


def test_no_pyplot():
    """In a new process: other tests may have imported it."""
    program = (
        "import sys\n"
        "from tests.helpers.reports import report\n"
        "report().plot()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_sensitivity_gets_a_panel_with_the_chosen_shares_marked():
    curve = GroupCurve("conv", ("conv",), 8, 1, (2, 4, 6), (0.1,) * 3, (0.01, 0.1, 1.0), (False, True, False))
    chosen = group("conv", channels=8, curve=curve)
    figure = report_figure(report(chosen, bare("fc", 10)))
    drawn(figure)
    panel = next(axes for axes in figure.axes if "loss" in axes.get_xlabel())
    assert list(panel.lines[0].get_xdata()) == [len(chosen.selection.removed) / 8]
    assert np.isnan(panel.images[0].get_array().filled(np.nan)[1]).all()
