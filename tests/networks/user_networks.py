"""User-defined networks: other dimensions, norms, ways to share, to take inputs and to give outputs."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


def block(inputs, outputs, size=3, norm=nn.BatchNorm2d, act=nn.ReLU):
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, padding=size // 2), norm(outputs), act(inplace=True))


class Two(nn.Module):
    """Two convolutions and a linear layer; what others here vary."""

    def __init__(self, channels=3):
        super().__init__()
        self.first = nn.Conv2d(channels, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 12, 3)
        self.head = nn.Linear(12, 4)

    def maps(self, x):
        return self.second(self.norm(self.first(x)).relu()).relu()

    def forward(self, x):
        return self.head(self.maps(x).mean((2, 3)))


class UNet(nn.Module):
    def __init__(self, norm=nn.BatchNorm2d):
        super().__init__()
        self.first = block(3, 8, norm=norm)
        self.second = block(8, 16, norm=norm)
        self.middle = block(16, 32, norm=norm)
        self.up2 = nn.ConvTranspose2d(32, 16, 2, 2)
        self.back2 = block(32, 16, norm=norm)
        self.up1 = nn.ConvTranspose2d(16, 8, 2, 2)
        self.back1 = block(16, 8, norm=norm)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        first = self.first(x)
        second = self.second(functional.max_pool2d(first, 2))
        x = self.middle(functional.max_pool2d(second, 2))
        x = self.back2(torch.cat([self.up2(x), second], 1))
        return self.head(self.back1(torch.cat([self.up1(x), first], 1)))


class SegmentationHead(nn.Module):
    """Dilated branches, a pooled one that is spread again, and bilinear interpolation to the size of the image."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, 2, 1)
        self.branches = nn.ModuleList([nn.Conv2d(12, 6, 3, padding=d, dilation=d) for d in (1, 2)])
        self.pooled = nn.Conv2d(12, 6, 1)
        self.join = nn.Conv2d(18, 8, 1)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        maps = self.first(x).relu()
        parts = [branch(maps).relu() for branch in self.branches]
        pooled = self.pooled(functional.adaptive_avg_pool2d(maps, 1)).relu()
        parts.append(functional.interpolate(pooled, maps.shape[-2:]))
        joined = self.join(torch.cat(parts, 1)).relu()
        return functional.interpolate(self.head(joined), x.shape[-2:], mode="bilinear")


class OneDimension(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 8, 5)
        self.norm = nn.BatchNorm1d(8)
        self.second = nn.Conv1d(8, 12, 3)
        self.up = nn.ConvTranspose1d(12, 6, 4, 2)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.second(self.norm(self.first(x)).relu()).relu()
        return self.head(self.up(x).relu().mean(-1))


class ThreeDimensions(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv3d(2, 8, 3, padding=1)
        self.norm = nn.BatchNorm3d(8)
        self.second = nn.Conv3d(8, 12, 3)
        self.up = nn.ConvTranspose3d(12, 6, 2, 2)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.second(self.norm(self.first(x)).relu()).relu()
        return self.head(self.up(x).relu().mean((2, 3, 4)))


def chain(*middle):
    """A convolution of 16 channels, some layers on them, and a head."""
    named = {"first": nn.Conv2d(3, 16, 3), **{f"then{n}": layer for n, layer in enumerate(middle)}}
    named |= {"second": nn.Conv2d(16, 8, 3), "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}
    model = nn.Sequential()
    for name, layer in named.items():
        model.add_module(name, layer)
    model.add_module("head", nn.Linear(8, 4))
    return model


class CalledAgain(nn.Module):
    """One layer, its norm too, three times over."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.again = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.first(x).relu()
        for _ in range(3):
            x = self.norm(self.again(x)).relu()
        return self.head(x.mean((2, 3)))


class Siamese(nn.Module):
    """One encoder for two images."""

    def __init__(self, joined=False):
        super().__init__()
        self.joined = joined
        self.first = nn.Conv2d(3, 8, 3)
        self.second = nn.Conv2d(8, 12, 3)
        self.head = nn.Linear(24 if joined else 12, 4)

    def forward(self, left, right):
        left, right = (self.second(self.first(x).relu()).relu().mean((2, 3)) for x in (left, right))
        return self.head(torch.cat([left, right], 1) if self.joined else left - right)


class HeadOverLevels(nn.Module):
    """A detector's head, the same one on every level."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, 2, padding=1)
        self.tower = nn.Conv2d(8, 10, 3, padding=1)
        self.head = nn.Conv2d(10, 4, 1)

    def forward(self, x):
        fine = self.first(x).relu()
        return [self.head(self.tower(level).relu()) for level in (fine, self.second(fine).relu())]


class ByName(Two):
    def forward(self, *, pixel_values, scale=None):
        return super().forward(pixel_values if scale is None else pixel_values * scale)


class FromDict(Two):
    def forward(self, batch):
        return {"logits": super().forward(batch["image"]), "loss": None}


@dataclass
class Output:
    logits: Tensor
    more: object = None


class DataclassOutput(Two):
    def forward(self, x):
        maps = self.maps(x)
        return Output(self.head(maps.mean((2, 3))), SimpleNamespace(aside=[Output(x.mean())], none=None))


class Heads(nn.Module):
    """Layers in a ModuleDict, heads in a ModuleList, a tuple of outputs."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleDict({"first": nn.Conv2d(3, 8, 3), "act": nn.ReLU(), "second": nn.Conv2d(8, 12, 3)})
        self.heads = nn.ModuleList([nn.Linear(12, 4), nn.Linear(12, 2)])

    def forward(self, x):
        for layer in self.layers.values():
            x = layer(x)
        return tuple(head(x.mean((2, 3))) for head in self.heads)


class Unused(Two):
    """A branch that never runs."""

    def __init__(self):
        super().__init__()
        self.spare = nn.Sequential(nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 1))


class TrainedBeside(Two):
    """An auxiliary head in train mode."""

    def __init__(self):
        super().__init__()
        self.aside = nn.Linear(12, 4)

    def forward(self, x):
        maps = self.maps(x).mean((2, 3))
        return (self.head(maps), self.aside(maps)) if self.training else self.head(maps)


class BareWeight(Two):
    """A weight of the module's own, used by a function."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 3, 3, 3) / 5)

    def forward(self, x):
        return self.head(self.second(functional.conv2d(x, self.weight).relu()).relu().mean((2, 3)))


class Checkpointed(Two):
    def forward(self, x):
        return self.head(checkpoint(self.maps, x, use_reentrant=False).mean((2, 3)))


class Autocast(Two):
    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x)


class Stubs(Two):
    """Ready for quantization in eager mode."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()

    def forward(self, x):
        return self.dequant(super().forward(self.quant(x)))


class Gated(nn.Module):
    """Squeeze and excitation by linear layers, and a learned scale on a residual branch."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.squeeze = nn.Linear(8, 4)
        self.excite = nn.Linear(4, 8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.gamma = nn.Parameter(torch.rand(8, 1, 1))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.first(x).relu()
        gate = self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()
        x = x + self.gamma * self.second(x * gate[:, :, None, None]).relu()
        return self.head(x.mean((2, 3)))


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        self.first = nn.Linear(16, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, ids):
        return self.head(self.first(self.embed(ids)).relu().mean(1))


class _Yolo(nn.Module):
    """A stem, a stage, and pyramid pooling as YOLO's backbones have it."""

    def __init__(self, width=16):
        super().__init__()
        self.stem = block(3, width, act=nn.SiLU)
        self.narrow = block(width, width // 2, 1, act=nn.SiLU)
        self.wide = block(2 * width, width, 1, act=nn.SiLU)
        self.head = nn.Conv2d(width, 5, 1)

    def forward(self, x):
        parts = [self.narrow(self.stage(self.stem(x)))]
        for _ in range(3):
            parts.append(functional.max_pool2d(parts[-1], 5, 1, 2))
        return self.head(self.wide(torch.cat(parts, 1)))


class YoloC3(_Yolo):
    """The stage of YOLOv5: two branches, one with a residual block."""

    def __init__(self, width=16):
        super().__init__(width)
        half = width // 2
        self.left, self.right = block(width, half, 1, act=nn.SiLU), block(width, half, 1, act=nn.SiLU)
        self.inner = nn.Sequential(block(half, half, 1, act=nn.SiLU), block(half, half, act=nn.SiLU))
        self.join = block(width, width, 1, act=nn.SiLU)

    def stage(self, x):
        left = self.left(x)
        return self.join(torch.cat([left + self.inner(left), self.right(x)], 1))


class YoloC2f(_Yolo):
    """The stage of YOLOv8 and later: chunks, each block's output joined."""

    def __init__(self, width=16):
        super().__init__(width)
        half = width // 2
        self.split = block(width, width, 1, act=nn.SiLU)
        self.inner = nn.ModuleList([nn.Sequential(block(half, half), block(half, half)) for _ in range(2)])
        self.join = block(2 * width, width, 1, act=nn.SiLU)

    def stage(self, x):
        parts = list(self.split(x).chunk(2, 1))
        for inner in self.inner:
            parts.append(parts[-1] + inner(parts[-1]))
        return self.join(torch.cat(parts, 1))
