"""The published method, word for word and without any haste: the ground truth of the fast path."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def literal_similarity(features: Tensor) -> Tensor:
    """Similarity of all pairs of channels, one pair at a time: (N, C, ...) to (C, C)."""
    channels = features.shape[1]
    similarity = torch.ones(channels, channels)
    for i in range(channels):
        for j in range(i + 1, channels):
            distance = (features[:, i] - features[:, j]).reshape(len(features), -1).norm(dim=1)
            similarity[i, j] = similarity[j, i] = (1 / (1 + distance)).mean()
    return similarity


def literal_selection(similarity: Tensor, neighbors: int, threshold: float) -> tuple[list[int], dict[int, int]]:
    """Kept channels, and the representative of each removed one."""
    channels = len(similarity)
    kept: list[int] = []
    representative: dict[int, int] = {}
    for i in range(channels):
        if i in representative:
            continue
        kept.append(i)
        others = [j for j in range(channels) if j != i and j not in representative]
        others.sort(key=lambda j: (-float(similarity[i, j]), j))
        for j in others[:neighbors]:
            if j not in kept and similarity[i, j] >= threshold:
                representative[j] = i
    return kept, representative


def literal_rounds(similarity: Tensor, neighbors: int, threshold: float) -> list[dict[int, int]]:
    """Repeated passes over the survivors until one is left: of each, the representative of each channel removed."""
    table = similarity.numpy().copy()
    np.fill_diagonal(table, -np.inf)
    alive, rounds = list(range(len(table))), []
    while len(alive) > 1:
        representatives = _literal_pass(table, alive, neighbors, threshold) or _literal_pass(
            table, alive, neighbors, 0.0
        )
        alive = [channel for channel in alive if channel not in representatives]
        rounds.append(representatives)
    return rounds


def _literal_pass(table: np.ndarray, alive: list[int], neighbors: int, threshold: float) -> dict[int, int]:
    gone = np.full(len(table), -np.inf)
    gone[alive] = 0
    representatives: dict[int, int] = {}
    for here in alive:
        if here in representatives:
            continue
        ranked = np.argsort(-(table[here] + gone), kind="stable")[:neighbors].tolist()
        for there in ranked:
            if gone[there] or not table[here, there] >= threshold:
                break
            if there > here:
                gone[there] = -np.inf
                representatives[there] = here
    return representatives
