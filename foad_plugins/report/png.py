"""Small pictures for a page: arrays as PNG data, drawn with nothing but NumPy and zlib."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import numpy.typing as npt

__all__ = ["GRADIENT", "data_uri", "heat", "marks", "shrink"]

Array = npt.NDArray[np.floating]

# Viridis: even to the eye, and readable without color vision and in gray.
GRADIENT = (
    "#440154", "#482878", "#3e4989", "#31688e", "#26828e",
    "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725",
)  # fmt: skip
_MARK = (213, 94, 0)
# Fewer shades than a byte holds: no eye tells them apart, and the file is smaller by a third.
_SHADES = 96


def shrink(values: Array, limit: int) -> Array:
    """Means of blocks, so that no side is longer than ``limit``.

    Args:
        values: (H, W).
        limit: the longest side that may come out, at least 1.

    Returns:
        (min(H, limit), min(W, limit)); the array itself where it fits.
    """
    for axis, size in enumerate(values.shape):
        if size > limit:
            edges = np.linspace(0, size, limit + 1).astype(np.intp)
            sums = np.add.reduceat(values, edges[:-1], axis=axis)
            values = sums / np.expand_dims(np.diff(edges), 1 - axis)
    return values


def heat(values: Array, low: float, high: float) -> str:
    """A data URI of ``values`` in colors, one pixel each.

    Args:
        values: (H, W). What is not finite stays transparent.
        low: the value of the darkest color; what lies below has it too.
        high: the value of the brightest color; what lies above has it too.
    """
    span = high - low if high > low else 1.0
    finite = np.isfinite(values)
    share = np.clip((np.where(finite, values, low) - low) / span, 0, 1)
    pixels = np.where(finite, np.rint(share * (_SHADES - 1)), _SHADES).astype(np.uint8)
    anchors = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in GRADIENT], dtype=float)
    places = np.linspace(0, len(anchors) - 1, _SHADES)
    shades = np.stack([np.interp(places, range(len(anchors)), channel) for channel in anchors.T], axis=1)
    palette = np.concatenate([shades, np.zeros((1, 3))]).round().astype(np.uint8)
    return data_uri(pixels, palette, [255] * _SHADES + [0])


def marks(shares: Array) -> str:
    """A data URI of a strip of marks, the stronger the higher each share in [0, 1] is.

    Args:
        shares: (H, W).
    """
    palette = np.tile(np.array(_MARK, dtype=np.uint8), (16, 1))
    return data_uri(np.rint(np.clip(shares, 0, 1) * 15).astype(np.uint8), palette, [17 * step for step in range(16)])


def data_uri(pixels: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8], opacity: list[int]) -> str:
    """A PNG with a palette, as a URI that an ``<img>`` takes without a file.

    Args:
        pixels: (H, W) indices into the palette.
        palette: (K, 3) red, green, blue.
        opacity: K values, 0 transparent to 255 opaque.
    """
    height, width = pixels.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = pixels
    data = b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", palette.tobytes()),
            _chunk(b"tRNS", bytes(opacity)),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
