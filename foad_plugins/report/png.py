"""Small pictures for a page: arrays as PNG data."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt

__all__ = ["GRADIENT", "block_means", "heatmap_uri", "marker_strip_uri"]

Array = npt.NDArray[np.floating]

# Viridis: perceptually even, and readable without color vision and in gray.
GRADIENT = (
    "#440154", "#482878", "#3e4989", "#31688e", "#26828e",
    "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725",
)  # fmt: skip
_MARK = (213, 94, 0)
# Fewer shades than a byte holds make files smaller by a third, with no visible difference.
_SHADES = 96


def block_means(values: Array, limit: int) -> Array:
    """Means of blocks, so that no side is longer than ``limit``.

    Args:
        values: (H, W).
        limit: longest side of the result, at least 1.

    Returns:
        (min(H, limit), min(W, limit)); the array itself if it is small enough.
    """
    for axis, size in enumerate(values.shape):
        if size > limit:
            edges = np.linspace(0, size, limit + 1).astype(np.intp)
            sums = np.add.reduceat(values, edges[:-1], axis=axis)
            values = sums / np.expand_dims(np.diff(edges), 1 - axis)
    return values


def heatmap_uri(values: Array, low: float, high: float) -> str:
    """A data URI of ``values`` in colors, one pixel each.

    Args:
        values: (H, W). Values that are not finite are transparent.
        low: values up to this have the darkest color.
        high: values from this on have the brightest color.
    """
    span = high - low if high > low else 1.0
    finite = np.isfinite(values)
    share = np.clip((np.where(finite, values, low) - low) / span, 0, 1)
    pixels = np.where(finite, np.rint(share * (_SHADES - 1)), _SHADES).astype(np.uint8)
    anchors = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in GRADIENT], dtype=float)
    places = np.linspace(0, len(anchors) - 1, _SHADES)
    shades = np.stack([np.interp(places, range(len(anchors)), channel) for channel in anchors.T], axis=1)
    palette = np.concatenate([shades, np.zeros((1, 3))]).round().astype(np.uint8)
    return _data_uri(pixels, palette, bytes([255] * _SHADES + [0]))


def marker_strip_uri(shares: Array) -> str:
    """A data URI of a strip of marks, whose opacity is each share in [0, 1].

    Args:
        shares: (H, W).
    """
    palette = np.tile(np.array(_MARK, dtype=np.uint8), (16, 1))
    return _data_uri(np.rint(np.clip(shares, 0, 1) * 15).astype(np.uint8), palette, bytes(range(0, 256, 17)))


def _data_uri(pixels: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8], opacity: bytes) -> str:
    """A PNG with a palette (K, 3) and K opacities, as a URI for ``<img>``; ``pixels`` (H, W) are indices into it."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=opacity, optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
