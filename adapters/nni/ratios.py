"""Widths by sensitivity as an NNI config list."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ...allocation.group_widths import Allocation
from ...utils.layers import layer_width

__all__ = ["config_from_widths"]


def config_from_widths(model: nn.Module, allocation: Allocation) -> list[dict[str, Any]]:
    """An NNI 3.0 config list that prunes every group to its width, with any of NNI's pruners::

        curves = sensitivity(model, images)
        config = config_from_widths(model, curves.widths(flops=0.5))
        pruner = FOADPruner(model, config, data=images)

    Args:
        model: the model that was measured, not wrapped.
        allocation: what :meth:`~foad_plugins.Sensitivity.widths` gave.

    Returns:
        One entry for each group that loses channels, its convolutions and linear layers in one dependency group.

    Raises:
        ValueError: the model lacks a layer, or its width is another one than the group's.
    """
    layers = dict(model.named_modules())
    config: list[dict[str, Any]] = []
    for number, group in enumerate(allocation.groups):
        if _width(layers.get(group.name)) != group.before:
            raise ValueError(
                f"widths of another model: this one has no layer {group.name!r} of {group.before} channels"
            )
        names = [name for name in group.layers if _width(layers.get(name))]
        if group.after == group.before or not names:
            continue
        # NNI removes int(channels * ratio), which rounding can leave one short.
        entry: dict[str, Any] = {"op_names": names, "sparse_ratio": group.ratio + 1e-9}
        if len(names) > 1:
            entry["dependency_group_id"] = f"sensitivity {number}"
        if group.parts > 1:
            entry["internal_metric_block"] = group.parts
        config.append(entry)
    return config


def _width(layer: nn.Module | None) -> int | None:
    return layer_width(layer, "output") if isinstance(layer, (_ConvNd, nn.Linear)) else None
