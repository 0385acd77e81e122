"""Masks by the published rule, and the least that masks must keep."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["by_rule", "keep_at_least_one", "rule_masks"]


def by_rule(space: Any) -> bool:
    """Whether the published rule decides how many channels are removed."""
    return space.sparse_ratio is None and space.sparse_threshold is None and space.global_group_id is None


def keep_at_least_one(masks: dict[str, Tensor], scores: Tensor) -> None:
    """Keep the best channel of each part in a layer that a threshold or a global ratio would empty."""
    if not masks["weight"].any():
        best = scores == scores.max()
        masks["weight"] = masks["weight"].masked_fill(best.to(masks["weight"].device), 1)
        if masks.get("bias") is not None:
            masks["bias"] = masks["bias"].masked_fill(best.flatten().to(masks["bias"].device), 1)


def rule_masks(targets: dict[str, Any], scores: Tensor, removed: int) -> dict[str, Tensor]:
    """Masks without the ``removed`` channels of lowest score, within the bounds of the config."""
    space = targets["weight"]
    least, most = space.min_sparse_ratio or 0.0, 1.0 if space.max_sparse_ratio is None else space.max_sparse_ratio
    count = min(max(removed, int(least * len(scores))), int(most * len(scores)))
    kept = torch.ones_like(scores)
    kept[scores.flatten().argsort(stable=True)[:count]] = 0
    masks = {"weight": space._scaler.expand(kept, space.shape, keepdim=True, full_expand=False)}
    if "bias" in targets and targets["bias"].target is not None:
        masks["bias"] = kept.flatten()
    return masks
