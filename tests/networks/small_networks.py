"""Small networks, one for each kind of coupled group."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def seeded_norms(model: nn.Module) -> nn.Module:
    """Give normalization layers statistics and parameters of their own, as training would."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


class Chain(nn.Module):
    """Convolutions with BN, functional ReLU and pooling, then a linear layer on the flattened map."""

    def __init__(self, groups: int = 1, norm: str = "batch") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(8) if norm == "batch" else nn.GroupNorm(2, 8)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1, groups=groups)
        self.norm2 = nn.BatchNorm2d(12) if norm == "batch" else nn.GroupNorm(2, 12)
        self.fc = nn.Linear(12 * 4, 5)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.norm1(self.conv1(x))), 2)
        x = functional.max_pool2d(functional.relu(self.norm2(self.conv2(x))), 2)
        return self.fc(x.flatten(1))


class Residual(nn.Module):
    """A stage of two residual blocks and a depthwise layer, read at three different tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.block1 = nn.Sequential(nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 1))
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.block2 = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.block1(x)
        x = x + self.block2(functional.relu(self.depthwise(x)))
        return self.fc(x.mean((2, 3)))


class Concat(nn.Module):
    """Two branches concatenated, followed by a squeeze-and-excitation gate."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 6, 3, padding=1)
        self.right = nn.Conv2d(3, 4, 1)
        self.join = nn.Conv2d(10, 8, 1)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.last = nn.Conv2d(8, 5, 1)

    def forward(self, x):
        x = torch.cat([self.left(x).relu(), self.right(x).relu()], dim=1)
        x = self.join(x)
        gate = self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.last(x * gate).mean((2, 3))


class Tokens(nn.Module):
    """Linear layers on tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.hidden = nn.Linear(16, 24)
        self.back = nn.Linear(24, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = self.embed(x)
        x = x + self.back(functional.gelu(self.hidden(x)))
        return self.head(x.mean(1))


class Wide(nn.Module):
    """Wide enough that one channel is less than a percent."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1)
        self.norm = nn.BatchNorm2d(24)
        self.body = nn.Sequential(nn.Conv2d(24, 40, 3, padding=1), nn.BatchNorm2d(40), nn.ReLU())
        self.back = nn.Conv2d(40, 24, 1)
        self.last = nn.Conv2d(24, 32, 3)
        self.fc = nn.Linear(32, 5)

    def forward(self, x):
        x = functional.relu(self.norm(self.stem(x)))
        x = x + self.back(self.body(x))
        return self.fc(functional.relu(self.last(x)).mean((2, 3)))


class Attention(nn.Module):
    """Its attention is not counted layer by layer, so that a first guess at its cost is far off."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(6, 64)
        self.attend = nn.MultiheadAttention(64, 2, batch_first=True)
        self.hidden = nn.Linear(64, 128)
        self.back = nn.Linear(128, 64)
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        x = self.embed(x)
        x = x + self.attend(x, x, x, need_weights=False)[0]
        return self.head(x + self.back(self.hidden(x).relu())).mean(1)
