"""The networks of the coverage study: how each is made, its inputs, and the layers that make its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

CLASSES = 10
"""Classes of every network; of a detector with the background."""

OTHERS = (
    "fcn_resnet50",
    "deeplabv3_resnet50",
    "lraspp_mobilenet_v3_large",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
    "fasterrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
)
"""Segmentation and detection models tried beside the classifiers."""

# The smallest images, where 32 pixels do not do: layers without padding, patches, and windows written down.
_SIZES = {
    "alexnet": 63,
    "inception_v3": 75,
    "maxvit_t": 224,
    "vit_b_32": 64,
    "vit_l_32": 64,
    "vit_h_14": 28,
    "ssd300_vgg16": 300,
    "ssdlite320_mobilenet_v3_large": 320,
    "fasterrcnn_resnet50_fpn": 64,
    "retinanet_resnet50_fpn": 64,
}
_HEADS = {
    # The pyramid's levels share their consumers, of which Torch-Pruning finds one: its own tests leave these out.
    "fasterrcnn_resnet50_fpn": ("backbone.fpn", "rpn.head", "roi_heads"),
    "retinanet_resnet50_fpn": ("head.classification_head.cls_logits", "head.regression_head.bbox_reg"),
}


@dataclass(frozen=True)
class Case:
    """A network and its images.

    Attributes:
        name: of torchvision's.
        size: height and width of the images, in pixels.
        batch: how many images there are.
    """

    name: str
    size: int
    batch: int

    def build(self) -> nn.Module:
        """The network in eval mode, its weights random and the same each time."""
        torch.manual_seed(0)
        options: dict[str, Any] = {"weights": None, "num_classes": CLASSES}
        if self.name in OTHERS:
            options["weights_backbone"] = None
        if self.name in ("googlenet", "inception_v3"):
            # The auxiliary heads run in train mode only, in which Torch-Pruning does not trace.
            options |= {"aux_logits": False, "init_weights": False}
        if self.name.startswith("vit"):
            options["image_size"] = self.size
        if self.name in _HEADS:
            options |= {"min_size": self.size, "max_size": self.size}
        return torchvision.models.get_model(self.name, **options).eval()

    def images(self) -> Tensor:
        """(batch, 3, size, size), values in [0, 1)."""
        generator = torch.Generator().manual_seed(1)
        return torch.rand(self.batch, 3, self.size, self.size, generator=generator)

    def heads(self, model: Any) -> list[nn.Module]:
        """The layers that make the output; all their channels are kept."""
        if self.name.startswith("ssd"):
            return list(model.get_submodule("head").children())
        if self.name in _HEADS:
            return [model.get_submodule(name) for name in _HEADS[self.name]]
        return [layer for layer in model.modules() if _outputs(layer) == CLASSES]

    def loss(self, model: nn.Module, images: Tensor) -> Tensor:
        """A loss for a backward pass, in the model's current mode."""
        if self.name in OTHERS[3:]:
            boxes = torch.tensor([[4.0, 4.0, self.size - 8.0, self.size - 8.0]])
            target = {"boxes": boxes, "labels": torch.ones(1, dtype=torch.long)}
            losses = model(list(images), [target] * len(images))
            return torch.stack(list(losses.values())).sum()
        return flat(model(images)).square().mean()


def flat(output: Any) -> Tensor:
    """All floating-point tensors in a model's output, one after the other, (values,) float32."""
    if isinstance(output, Tensor):
        return output.flatten().float() if output.is_floating_point() else torch.empty(0)
    parts = output.values() if isinstance(output, dict) else output
    return torch.cat([torch.empty(0), *map(flat, parts)])


def classifiers() -> list[str]:
    """Every classification model of torchvision's."""
    return list(torchvision.models.list_models(module=torchvision.models))


def case_of(name: str) -> Case:
    """The case of a model by name; detectors get two images, all others four."""
    return Case(name, _SIZES.get(name, 32), 2 if name in OTHERS[3:] else 4)


def attention_heads(model: nn.Module) -> dict[nn.Module, int]:
    """Attention layers and their heads, which lose the same channels each: ``out_channel_groups`` of a pruner."""
    return {layer: layer.num_heads for layer in model.modules() if isinstance(layer, nn.MultiheadAttention)}


def settle(model: nn.Module) -> None:
    """What is to be done by hand after pruning: vision transformers reshape to a width that they keep as a number."""
    if isinstance(model, torchvision.models.VisionTransformer):
        model.hidden_dim = model.conv_proj.out_channels


def _outputs(layer: nn.Module) -> int | None:
    return getattr(layer, "out_features", getattr(layer, "out_channels", None))
