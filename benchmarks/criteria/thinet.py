"""ThiNet-style: channels whose removal changes the next layer's outputs least are removed first."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from ...adapters.torch_pruning.groups import CoupledGroup
from ...calibration.observers import HookPoint
from ...calibration.preserve import preserve_state
from ...criterion.gram import GramStatistics
from ...utils.layers import first_input
from .base import DataDrivenCriterion
from .patches import kernels, sampled_patches
from .register import register_criterion
from .spec import CriterionContext

_ENTRIES = 2**23
"""Contributions that are held at a time, 32 MiB of them."""


def greedy_order(products: torch.Tensor) -> list[int]:
    """Order of removal: each step removes the channel that keeps the removed contributions' squared sum smallest.

    That sum is what the layer's output changes by (ThiNet, equation 6 and algorithm 1). Of equal channels the one with
    the higher index is removed and the lower one is kept.

    Args:
        products: (C, C), sums over samples of products of the channels' contributions.
    """
    products = products.double()
    own = products.diagonal().clone()
    shared = torch.zeros_like(own)
    order: list[int] = []
    for _ in range(len(own)):
        cost = own + 2 * shared
        channel = len(own) - 1 - int(cost.flip(0).argmin())
        order.append(channel)
        shared += products[channel]
        own[channel] = torch.inf
    return order


@register_criterion("thinet", needs_context=True)
class ThiNet(DataDrivenCriterion):
    """ThiNet-style greedy reconstruction of the next layer's outputs (ThiNet; Luo et al., ICCV 2017).

    An output of a layer that reads the channels is the sum of what each channel contributes, bias aside. Channels are
    removed one at a time, always the one with which the removed contributions, summed over the removed channels and
    squared, add up to least over sampled outputs. A channel's score is its place in that order over the number of
    channels, from 0 (removed first) to below 1.

    Style, because it differs from the paper in four points: all groups are scored on the unpruned network, where the
    paper prunes and fine-tunes layer by layer; the paper samples one output channel at each position, this
    takes all of them; the least-squares rescaling of the kept channels is left out (``compensate`` is for that); and
    several consumers of a group, of which the paper has one, are summed. Consumers are those that FOAD uses, except
    transposed convolutions, which are left out. A group without a consumer gets None and is not pruned.

    Args:
        context: gives the calibration images, and the seed of the sampled positions.
        positions: outputs sampled from each image and layer, 10 in the paper; all where there are fewer.
        batch_size: images per forward pass; bounds memory, changes nothing else.

    Raises:
        ValueError: if ``positions`` or ``batch_size`` is below 1 or there are no images.
    """

    def __init__(self, context: CriterionContext, positions: int = 10, batch_size: int = 32) -> None:
        super().__init__(context, batch_size)
        if positions < 1:
            raise ValueError(f"positions: at least 1, got {positions!r}")
        random = torch.Generator().manual_seed(context.seed)
        self._uniforms = torch.rand(len(context.images), positions, generator=random)
        self._patches: dict[nn.Module, list[torch.Tensor]] = {}

    def __call__(self, group: tp.dependency.Group) -> torch.Tensor | None:
        """Scores of the group's channels, float32; None if no layer reads them.

        Raises:
            ValueError: if a consumer was not run, or its input is not finite; names the layer.
        """
        coupled = CoupledGroup.of(group)
        points = [point for point in coupled.hook_points if point.side == "input"]
        points = [point for point in points if not getattr(point.module, "transposed", False)]
        if not points:
            return None
        model = group._DG.model
        self.prepare(model)
        products = torch.zeros(coupled.num_channels, coupled.num_channels, dtype=torch.float64)
        for point in points:
            self.check(model, point.module, known=point.module in self._patches)
            try:
                products += self._products(point)
            except ValueError as error:
                self.skip(point.module, str(error))
                self.check(model, point.module, known=False)
        scores = torch.empty(coupled.num_channels)
        scores[greedy_order(products)] = torch.arange(coupled.num_channels) / coupled.num_channels
        return scores[list(group[0].idxs)]

    def calibrate(self, model: nn.Module) -> None:
        """Cut the sampled patches out of the inputs of all layers."""
        patches: dict[nn.Module, list[torch.Tensor]] = {}
        start = count = 0

        def cut(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inputs = first_input(args, kwargs)
            if not inputs.isfinite().all():
                self.skip(layer, "its input holds NaN or Inf")
                return
            # Some networks fold parts of an image into the batch.
            rows = start + torch.arange(len(inputs)) * count // len(inputs)
            try:
                patches.setdefault(layer, []).append(sampled_patches(layer, inputs, self._uniforms[rows]))
            except ValueError as error:
                self.skip(layer, str(error))

        with torch.no_grad(), preserve_state(model), ExitStack() as hooks:
            for layer in self.layers(model):
                if not getattr(layer, "transposed", False):
                    hooks.enter_context(layer.register_forward_pre_hook(cut, with_kwargs=True))
            for batch in self.batches(model):
                count = len(batch)
                model(batch)
                start += count
        self._patches = patches

    def _products(self, point: HookPoint) -> torch.Tensor:
        """(C, C) products of the channels' contributions to a consumer's outputs, a mean over positions."""
        weight = kernels(point.module).float()
        weight = weight if point.channel_index is None else weight[:, point.channel_index].flatten(2)
        outputs, channels = weight.shape[:2]
        gram = GramStatistics(channels)
        for batch in self._patches[point.module]:
            for part in batch.split(max(1, _ENTRIES // (channels * outputs))):
                part = part.float() if point.channel_index is None else part[:, point.channel_index].flatten(2).float()
                gram.update(torch.einsum("fck,pck->pcf", weight, part))
        return gram.compute() * outputs
