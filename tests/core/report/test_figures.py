from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import torch

from foad_plugins import LayerWidth
from foad_plugins.report.clustering import cluster_order
from foad_plugins.report.figures import pair_figure, report_figure, similarity_figure

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


def test_bars_are_as_long_as_the_report_says():
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
    odd = group(HOSTILE)
    drawn(similarity_figure(odd))
    drawn(pair_figure(odd))


def test_the_heat_map_is_ordered_and_its_marks_are_the_removed():
    shown = group(channels=12)
    figure = similarity_figure(shown)
    axes = figure.axes[0]
    order = cluster_order(shown.similarity)
    assert np.array_equal(axes.images[0].get_array(), shown.similarity.numpy()[np.ix_(order, order)])
    assert [int(label.get_text()) for label in axes.get_xticklabels()] == order
    top = [round(bar.get_x() + bar.get_width() / 2) for bar in axes.containers[0]]
    assert sorted(order[place] for place in top) == list(shown.selection.removed)
    assert axes.get_title() == f"conv: {len(top)} of 12 channels removed (orange)"
    drawn(figure)


@pytest.mark.parametrize("similarity", [torch.ones(1, 1), torch.ones(3, 3), torch.eye(2).clamp_min(1e-6)])
def test_few_or_equal_channels(similarity):
    drawn(similarity_figure(bare("a", len(similarity), similarity)))


def test_many_channels_have_no_numbers():
    figure = similarity_figure(group(channels=64))
    assert not figure.axes[0].get_xticklabels()
    drawn(figure)


def test_pairs_are_shown_with_one_scale_each():
    shown = group(channels=12)
    figure = pair_figure(shown)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(images) == 2 * len(shown.pairs)
    for number, pair in enumerate(shown.pairs):
        left, right = images[2 * number : 2 * number + 2]
        assert np.array_equal(left.get_array(), pair.maps[0].numpy())
        assert np.array_equal(right.get_array(), pair.maps[1].numpy())
        assert left.get_clim() == right.get_clim() == (float(pair.maps.min()), float(pair.maps.max()))
    drawn(figure)


def test_nothing_to_show_is_said():
    with pytest.raises(ValueError, match="'a' was not measured"):
        similarity_figure(bare("a"))
    with pytest.raises(ValueError, match="'a' has no pairs"):
        pair_figure(bare("a"))
    with pytest.raises(ValueError, match="finite"):
        similarity_figure(bare("a", 2, torch.full((2, 2), float("inf"))))


@pytest.mark.parametrize(
    "draw", [lambda: report().plot(), lambda: similarity_figure(group()), lambda: pair_figure(group())]
)
def test_a_missing_matplotlib_is_named(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "foad-plugins\[plot\]"'):
        draw()


def test_no_pyplot():
    """In a process of its own: other tests may have imported it."""
    program = (
        "import sys\n"
        "from tests.helpers.reports import group, report\n"
        "from foad_plugins.report.figures import pair_figure, similarity_figure\n"
        "report().plot(), similarity_figure(group()), pair_figure(group())\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
