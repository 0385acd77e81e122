from __future__ import annotations

import pytest

from foad_plugins import LayerFit, RefitReport

LAYERS = (
    LayerFit("stem", 0.0, 0.0, 1e-3, 500, 27, changed=False),
    LayerFit("block.$a$", 0.4, 0.1, 1e-4, 500, 72, at_sum=True),
)


def test_the_text_has_every_layer_and_groups_reasons():
    reasons = {f"layer{number}": "it runs more than once" for number in range(5)}
    text = str(RefitReport(LAYERS, reasons, images=16, seconds=1.25, notes=("a remark",)))
    assert "0.4000  0.1000  at a sum" in text
    assert "0.0000  unchanged" in text
    assert "1 of 2 layers refitted on 16 images in 1.2 s" in text
    assert "left alone, it runs more than once: layer0, layer1, layer2 and 2 more" in text
    assert "note: a remark" in text


def test_the_figure_has_the_errors_of_every_layer():
    pytest.importorskip("matplotlib")
    figure = RefitReport(LAYERS).plot()
    [axes] = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["stem", "block.$a$"]
    before, after = axes.containers
    assert [bar.get_width() for bar in before] == [0.0, 0.4]
    assert [bar.get_width() for bar in after] == [0.0, 0.1]
    figure.canvas.draw()


def test_there_must_be_a_layer_to_draw():
    with pytest.raises(ValueError, match="no refitted layer"):
        RefitReport(()).plot()
