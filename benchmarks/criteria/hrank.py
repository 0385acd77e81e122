"""HRank: channels whose feature maps have a low rank go first."""

from __future__ import annotations

import torch
import torch_pruning as tp
from torch import nn

from ...quiet import undisturbed
from .build import CriterionContext, register_criterion
from .feature_maps import watch_producer_maps
from .groups import group_score, producers

__all__ = ["HRank", "rank_sums"]


def rank_sums(feature_map: torch.Tensor) -> torch.Tensor:
    """Rank of each channel's map, summed over images, at torch's default tolerance.

    Args:
        feature_map: (N, C, H, W), or (N, C) vectors, whose entries count as 1x1 maps: rank 1 unless zero.

    Returns:
        Float64 of shape (C,): sums, so that batches add up.

    Raises:
        ValueError: if the shape is another or a value is not finite.
    """
    if feature_map.dim() not in (2, 4):
        raise ValueError(f"ranks need maps (N, C, H, W) or vectors (N, C), got shape {tuple(feature_map.shape)}")
    if not feature_map.isfinite().all():
        raise ValueError("its feature maps hold NaN or Inf, which have no rank")
    if feature_map.dim() == 2:
        return (feature_map != 0).double().sum(0)
    return torch.linalg.matrix_rank(feature_map.float()).double().sum(0)


@register_criterion("hrank")
class HRank(tp.importance.Importance):
    """Mean rank of the feature maps over calibration images (HRank; Lin et al., CVPR 2020).

    Maps are taken where the paper's code takes them, at the producer's side: after convolution, BN and
    ReLU, before any pooling. Where another operation follows BN, a residual sum for one, the map before
    that operation counts, and where several layers produce a group, the mean of their ranks; the paper's
    code looks behind the sum instead.

    All layers are read in one pass over the images, at the first group of a network; a change of its
    weights or shapes starts another pass. The network's flags, buffers and hooks are left as they were.

    Args:
        context: gives the calibration images.
        batch_size: images per forward pass; bounds memory, changes nothing else.

    Raises:
        ValueError: if ``batch_size`` is below 1 or there are no images.
    """

    def __init__(self, context: CriterionContext, batch_size: int = 128) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size: at least 1, got {batch_size!r}")
        if len(context.images) == 0:
            raise ValueError("images: HRank needs at least one calibration image, got none")
        self._images = context.images
        self._batch_size = batch_size
        self._seen: list[tuple[torch.Tensor, int]] = []
        self._ranks: dict[nn.Module, torch.Tensor] = {}
        self._problems: dict[nn.Module, str] = {}

    def __call__(self, group: tp.dependency.Group) -> torch.Tensor | None:
        """Mean rank of the group's channels, from 0 to min(H, W); None if no layer with filters makes them.

        Raises:
            ValueError: if a producing layer was not run, or its maps have no rank; names the layer.
        """
        model = group._DG.model
        if not self._is_current(model):
            self._calibrate(model)
        names = {module: name for name, module in model.named_modules()}
        for layer, _ in producers(group):
            if layer not in self._ranks:
                reason = self._problems.get(layer, "it was not run on the calibration images")
                raise ValueError(f"HRank has no ranks for layer {names[layer]!r}: {reason}")
        return group_score(group, lambda layer: self._ranks[layer])

    def _is_current(self, model: nn.Module) -> bool:
        tensors = [*model.parameters(), *model.buffers()]
        return len(tensors) == len(self._seen) and all(
            now is then and now._version == version for now, (then, version) in zip(tensors, self._seen, strict=True)
        )

    def _calibrate(self, model: nn.Module) -> None:
        layers = [m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd | nn.Linear)]
        problems: dict[nn.Module, str] = {}
        sums: dict[nn.Module, torch.Tensor] = {}
        maps: dict[nn.Module, int] = {}

        def add(layer: nn.Module, feature_map: torch.Tensor) -> None:
            try:
                ranks = rank_sums(feature_map)
            except ValueError as error:
                # Raised only if a group asks for this layer: a network may hold layers that nobody prunes.
                problems[layer] = str(error)
                return
            sums[layer] = sums[layer] + ranks if layer in sums else ranks
            maps[layer] = maps.get(layer, 0) + len(feature_map)

        device = next(model.parameters()).device
        with torch.no_grad(), undisturbed(model), watch_producer_maps(layers, add):
            for batch in self._images.split(self._batch_size):
                model(batch.to(device))
        self._ranks = {layer: total / maps[layer] for layer, total in sums.items() if layer not in problems}
        self._problems = problems
        self._seen = [(tensor, tensor._version) for tensor in (*model.parameters(), *model.buffers())]
