from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from foad_plugins.report.png import GRADIENT, block_means, heatmap_uri, marker_strip_uri


def opened(uri):
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


def rgb(color):
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


def test_block_means_of_what_is_too_large():
    values = np.arange(12.0).reshape(3, 4)
    assert block_means(values, 4) is values
    assert block_means(values, 2).tolist() == [[0.5, 2.5], [6.5, 8.5]]
    assert block_means(np.ones((1, 1000)), 7).tolist() == [[1.0] * 7]
    assert block_means(np.random.rand(100, 30), 30).shape == (30, 30)


def test_colors_run_from_low_to_high():
    pixels = opened(heatmap_uri(np.array([[0.0, 1.0, 2.0, np.nan], [-5.0, 9.0, 1.0, np.inf]]), 0.0, 2.0))
    assert pixels.shape == (2, 4, 4)
    assert pixels[0, 0].tolist() == [*rgb(GRADIENT[0]), 255] == pixels[1, 0].tolist()
    assert pixels[0, 2].tolist() == [*rgb(GRADIENT[-1]), 255] == pixels[1, 1].tolist()
    assert pixels[:, 3, 3].tolist() == [0, 0]
    light = opened(heatmap_uri(np.linspace(0, 1, 50)[None], 0.0, 1.0))[0, :, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(light) > 0).all()


def test_a_constant_map():
    assert (opened(heatmap_uri(np.full((2, 2), 3.0), 3.0, 3.0))[..., 3] == 255).all()


def test_the_opacity_of_a_mark_is_its_share():
    opacity = opened(marker_strip_uri(np.array([[0.0, 0.5, 1.0]])))[0, :, 3]
    assert opacity[0] == 0 < opacity[1] < opacity[2] == 255
