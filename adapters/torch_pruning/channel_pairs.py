"""Removed channels and their representatives, as images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ...calibration.data import Call, ForwardFn
from ...calibration.observers import HookPoint
from ...calibration.preserve import preserve_state
from ...criterion.selection import Selection
from ...report.data import ChannelPair
from ...utils.layers import first_input
from .groups import CoupledGroup

__all__ = ["channel_pairs"]


def channel_pairs(
    model: nn.Module,
    call: Call,
    forward_fn: ForwardFn | None,
    selections: Sequence[tuple[CoupledGroup, Selection]],
    most: int = 4,
) -> list[tuple[ChannelPair, ...]]:
    """For each group its most similar pairs, on the first image; none where the maps are not images.

    Args:
        model: before anything is removed; left unchanged.
        call: with at least one image.
        forward_fn: called as ``forward_fn(model, batch)`` instead of the model itself.
        selections: groups and what is decided for them.
        most: how many pairs for each group.
    """
    names = {module: name for name, module in model.named_modules()}
    found: list[tuple[ChannelPair, ...]] = [() for _ in selections]

    def keep(number: int, point: HookPoint, selection: Selection, tensor: Any) -> None:
        if found[number] or not isinstance(tensor, Tensor):
            return
        maps = point.maps(tensor)
        # Channels picked from a concatenation come with an axis of their own.
        maps = maps.squeeze(2) if maps.dim() == 5 and maps.shape[2] == 1 else maps
        if maps.dim() != 4 or min(maps.shape[2:]) < 2:
            return
        ranked = sorted(range(len(selection.removed)), key=lambda place: -selection.similarity[place])
        found[number] = tuple(
            ChannelPair(
                names[point.module],
                selection.removed[place],
                selection.representative[place],
                selection.similarity[place],
                maps[0, [selection.removed[place], selection.representative[place]]].detach().to("cpu", torch.float32),
            )
            for place in ranked[:most]
        )

    with ExitStack() as stack, torch.no_grad():
        stack.enter_context(preserve_state(model))
        for number, (group, selection) in enumerate(selections):
            for point in group.hook_points:
                if selection.removed and point.side == "input":

                    def hook(
                        _: nn.Module,
                        args: tuple[Any, ...],
                        kwargs: dict[str, Any],
                        number: int = number,
                        point: HookPoint = point,
                        selection: Selection = selection,
                    ) -> None:
                        keep(number, point, selection, first_input(args, kwargs))

                    stack.callback(point.module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        call.run(model, forward_fn)
    return found
