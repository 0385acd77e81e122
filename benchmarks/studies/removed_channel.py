"""The README's picture: removed channels beside the kept channels that they duplicate, on a real image."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ... import prune
from ...report.data import ChannelPair, GroupReport
from ..models.vgg_cifar import VGG16CIFAR
from .common import arguments, cifar_images, load_weights

_IMAGES = 128
_FIRST = 4
_PAIRS = 3
# A map with less contrast than this shows nothing.
_LEAST_DEVIATION = 0.02


def main() -> None:
    """Draw docs/images/removed_channel.png."""
    parser = arguments(main.__doc__ or "", "removed_channel.png")
    parser.set_defaults(out=Path("docs/images/removed_channel.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_weights(VGG16CIFAR(), options.data_root, "vgg16_cifar10_jpeg")
    images, _ = cifar_images(options.data_root, "train", _FIRST, _FIRST + _IMAGES)
    report = prune(
        model, images, flops=0.5, ranking="local", compensate="least_squares", dry_run=True, measure_latency=False
    )
    pairs = clearest_pairs(report.groups)
    photo = images[0] - images[0].amin()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draw(photo / photo.amax(), pairs).savefig(options.out, dpi=110)


def clearest_pairs(groups: tuple[GroupReport, ...]) -> list[ChannelPair]:
    """The pairs of the largest maps whose two maps correlate most, among those with contrast."""
    pairs = [pair for group in groups for pair in group.pairs]
    size = max(pair.maps.shape[-1] for pair in pairs)
    shown = [
        pair for pair in pairs if pair.maps.shape[-1] == size and pair.maps.std(dim=(1, 2)).min() > _LEAST_DEVIATION
    ]
    return sorted(shown, key=lambda pair: -float(torch.corrcoef(pair.maps.flatten(1))[0, 1]))[:_PAIRS]


def draw(photo: torch.Tensor, pairs: list[ChannelPair]) -> Figure:
    """An image (3, H, W) in [0, 1], and for each pair the removed channel's map beside the kept one's."""
    figure = Figure(figsize=(1.5 * (1 + 2 * len(pairs)), 2.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 1 + 2 * len(pairs))
    panels[0].imshow(photo.permute(1, 2, 0))
    panels[0].set_title("image", fontsize=9)
    for number, pair in enumerate(pairs):
        low, high = float(pair.maps.min()), float(pair.maps.max())
        for side, (what, channel) in enumerate((("removed", pair.removed), ("kept", pair.representative))):
            panel = panels[1 + 2 * number + side]
            panel.imshow(pair.maps[side], cmap="magma", vmin=low, vmax=high)
            panel.set_title(f"{what}: channel {channel}", fontsize=9, color="#b3261e" if side == 0 else "#1b6e3c")
        panels[1 + 2 * number].set_xlabel(f"similarity {pair.similarity:.2f}", fontsize=8, loc="left")
    for panel in panels:
        panel.set_xticks([])
        panel.set_yticks([])
    return figure


if __name__ == "__main__":
    main()
