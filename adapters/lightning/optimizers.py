"""Optimizers that keep their state while channels of a network are removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["optimizers_updated"]

# Positions are written into the bits of a gradient: these integers have the size of the numbers.
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@contextmanager
def optimizers_updated(network: nn.Module, optimizers: Sequence[Optimizer]) -> Iterator[list[str]]:
    """Give optimizers the new parameters of a network that is pruned inside the block.

    Each new parameter takes the place of the old one of the same name in its group. State of its shape, such as
    momentum, keeps the entries of the channels that are kept; other state of a parameter whose shape changed is
    reset. A bias that pruning adds is put after the weight of its layer. Gradients are None afterwards. If the block
    raises, optimizers and gradients are unchanged.

    Torch-Pruning removes the same entries from a parameter and from its gradient, so the position of each entry is
    written there while the block runs. Nothing inside may use gradients.

    Args:
        network: whose parameters change.
        optimizers: whose groups may hold other parameters too.

    Yields:
        A list that has the names of the parameters with reset state after the block.
    """
    before = dict(network.named_parameters())
    gradients = {name: parameter.grad for name, parameter in before.items()}
    reset: list[str] = []
    try:
        for parameter in before.values():
            parameter.grad = _positions(parameter)
        yield reset
    except BaseException:
        for name, parameter in before.items():
            parameter.grad = gradients[name]
        raise
    after = dict(network.named_parameters())
    kept = {name: _read(parameter, before[name]) for name, parameter in after.items() if name in before}
    for parameter in (*before.values(), *after.values()):
        parameter.grad = None
    for optimizer in optimizers:
        _replace(optimizer, before, after)
        for name, parameter in before.items():
            state = optimizer.state.pop(parameter, None)
            if state is None or name not in after:
                continue
            changed = {key: _sliced(value, parameter, after[name], kept[name]) for key, value in state.items()}
            if any(value is None for value in changed.values()):
                reset.append(name)
            else:
                optimizer.state[after[name]] = changed


def _positions(parameter: Tensor) -> Tensor | None:
    """The position of each entry, as bits of a gradient; None if there are too many for the dtype."""
    integer = _INTEGERS.get(parameter.element_size())
    if integer is None or parameter.numel() > torch.iinfo(integer).max:
        return None
    positions = torch.arange(parameter.numel(), dtype=integer, device=parameter.device)
    return positions.view(parameter.dtype).view_as(parameter)


def _read(parameter: Tensor, before: Tensor) -> Tensor | None:
    """Positions of a parameter's entries in the one before; None if they are not known."""
    if parameter.grad is None or parameter.grad.shape != parameter.shape:
        return None
    return parameter.grad.contiguous().view(_INTEGERS[before.element_size()]).long()


def _sliced(value: object, before: Tensor, after: Tensor, kept: Tensor | None) -> object | None:
    """State of the new parameter; None if it cannot be derived from that of the old one."""
    if not isinstance(value, Tensor) or value.numel() == 1 or before.shape == after.shape:
        return value
    if value.shape != before.shape or kept is None:
        return None
    return value.flatten()[kept.to(value.device)]


def _replace(optimizer: Optimizer, before: dict[str, nn.Parameter], after: dict[str, nn.Parameter]) -> None:
    names = {id(parameter): name for name, parameter in before.items()}
    for group in optimizer.param_groups:
        parameters, labels = [], []
        given = group.get("param_names", [""] * len(group["params"]))
        for label, old in zip(given, group["params"], strict=True):
            name = names.get(id(old))
            if name is not None and name not in after:
                continue
            parameters.append(old if name is None else after[name])
            labels.append(label)
            bias = f"{name.removesuffix('weight')}bias" if name is not None and name.endswith("weight") else ""
            if bias in after and bias not in before:
                parameters.append(after[bias])
                labels.append(f"{label.removesuffix('weight')}bias")
        group["params"] = parameters
        if "param_names" in group:
            group["param_names"] = labels
