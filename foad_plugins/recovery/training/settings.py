"""The settings of a training without labels, checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

import torch
from torch import Tensor, nn

__all__ = ["OptimizerFactory", "TrainingSettings", "Transform", "check_number", "make_optimizer"]

Transform = Callable[[Tensor], Tensor]
OptimizerFactory = Callable[..., torch.optim.Optimizer]

_RATES: Final = {"sgd": 0.02, "adamw": 1e-3}


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a network is trained; the arguments of :func:`~foad_plugins.recover` with these names."""

    epochs: float | None = None
    steps: int | None = None
    batch_size: int = 128
    optimizer: str | OptimizerFactory = "auto"
    learning_rate: float | None = None
    warmup: float = 0.1
    weight_decay: float = 1e-4
    clip_norm: float | None = None
    ema: float | None = None
    freeze_bn: bool | None = None
    crop: float = 0.125
    flip: bool = True
    brightness: float = 0.0
    transform: Transform | None = None
    precision: str = "float32"
    channels_last: bool = False
    left_out: int | None = None
    measure_every: int | None = None
    seed: int = 0

    def check(self) -> None:
        """Raise a TypeError or ValueError that names the first argument out of its range."""
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both")
        for name, low in (("steps", 0), ("batch_size", 1), ("left_out", 1), ("measure_every", 1), ("seed", 0)):
            check_number(name, getattr(self, name), low, kind=int)
        for name in ("epochs", "weight_decay", "brightness"):
            check_number(name, getattr(self, name), 0)
        for name in ("warmup", "crop", "ema"):
            check_number(name, getattr(self, name), 0, below=1)
        for name in ("learning_rate", "clip_norm"):
            check_number(name, getattr(self, name), 0, exclusive=True)
        for name in ("flip", "channels_last"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
        if self.precision not in ("float32", "bf16"):
            raise ValueError(f"precision must be 'float32' or 'bf16', got {self.precision!r}")
        if self.transform is not None and not callable(self.transform):
            raise TypeError(f"transform must be a function of images, got {self.transform!r}")
        if not callable(self.optimizer) and self.optimizer not in ("auto", "sgd", "adamw"):
            raise ValueError(
                "optimizer must be 'auto', 'sgd', 'adamw' or a function of parameter groups such as "
                f"torch.optim.RMSprop, got {self.optimizer!r}"
            )

    def described(self) -> dict[str, Any]:
        """All settings as plain values, functions by their names."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _function_name(value) if callable(value) else value for name, value in values.items()}


def make_optimizer(model: nn.Module, settings: TrainingSettings, *, batch_statistics: bool) -> torch.optim.Optimizer:
    """The optimizer of a network's trainable parameters; biases and normalization layers have no weight decay.

    Args:
        model: the network, with at least one trainable parameter.
        settings: ``optimizer``, ``learning_rate`` and ``weight_decay`` are used.
        batch_statistics: whether batch normalization is trained with statistics of batches, for which ``"auto"`` is
            SGD with momentum; else it is AdamW.

    Raises:
        TypeError: the factory's result is no optimizer.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [one for one in parameters if one.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [one for one in parameters if one.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    name, rate = settings.optimizer, settings.learning_rate
    if callable(name):
        optimizer = name(groups) if rate is None else name(groups, lr=rate)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"optimizer must return a torch.optim.Optimizer, got {type(optimizer).__name__}")
        return optimizer
    if name == "auto":
        name = "sgd" if batch_statistics else "adamw"
    rate = _RATES[name] if rate is None else rate
    if name == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=rate)


def check_number(
    name: str, value: Any, low: float, *, below: float = math.inf, kind: type[float] = float, exclusive: bool = False
) -> None:
    """Check that an argument is None or a finite number from ``low`` (itself allowed unless ``exclusive``) on.

    Raises:
        TypeError: no number, or no integer where ``kind`` is int.
        ValueError: out of range.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise TypeError(f"{name} must be {'an integer' if kind is int else 'a number'}, got {value!r}")
    if not (low < value if exclusive else low <= value) or not value < below:
        limits = [f"above {low}" if exclusive else f"at least {low}"] + ([f"below {below}"] if below < math.inf else [])
        raise ValueError(f"{name} must be {' and '.join(limits)}, got {value!r}")


def _function_name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))
