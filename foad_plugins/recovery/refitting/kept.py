"""Which channels of the original a pruned layer has kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .patches import LayerMatrix

__all__ = ["Correlation", "check_kept", "equal_channels"]

# Blocks of a row of weights that are searched for in the original.
_BLOCKS = 64
# A match of maps is doubtful below this correlation, or if another channel comes this near and is not nearly the same.
_LEAST_CORRELATION = 0.5
_MARGIN = 0.02
_SAME = 0.9
_ROWS = 2048


def check_kept(kept: Mapping[str, Sequence[int]] | None, pruned: nn.Module, original: nn.Module) -> dict[str, Tensor]:
    """The argument ``kept`` as index tensors.

    Raises:
        TypeError: it is no dict from names to sequences of integers.
        ValueError: a name that is no layer of both networks, or indices that do not fit them.
    """
    if kept is None:
        return {}
    if not isinstance(kept, Mapping):
        raise TypeError(f"kept must be a dict from layer names to channel indices, got {type(kept).__name__}")
    old, new = dict(original.named_modules()), dict(pruned.named_modules())
    found = {}
    for name, channels in kept.items():
        if name not in old or name not in new or not hasattr(old[name], "weight") or not hasattr(new[name], "weight"):
            raise ValueError(f"kept: {name!r} is no layer of both networks")
        index = torch.as_tensor(list(channels))
        if index.numel() and (index.dtype.is_floating_point or index.dtype == torch.bool):
            raise TypeError(f"kept[{name!r}] must hold integers, got {index.dtype}")
        before, after = LayerMatrix(old[name]).outputs, LayerMatrix(new[name]).outputs
        if len(index) != after or len(index.unique()) != after or index.min() < 0 or index.max() >= before:
            raise ValueError(
                f"kept[{name!r}] must hold {after} different channels from 0 to {before - 1}, got {len(index)} indices"
            )
        found[name] = index.long()
    return found


def equal_channels(pruned: Any, original: Any, pruned_norm: Any = None, original_norm: Any = None) -> Tensor | None:
    """The channels of the original that a layer has kept, if equal values show them.

    Compared are the layer's bias, its normalization's weight, bias and statistics, and blocks of its weights: one
    input channel's kernel each, which removals further up do not change.

    Args:
        pruned: the layer.
        original: the layer that it was.
        pruned_norm: the batch normalization after it; None if there is none.
        original_norm: the batch normalization that that was.

    Returns:
        (channels of the pruned layer,) indices in ascending order; None if they cannot be told so.
    """
    after, before = LayerMatrix(pruned).outputs, LayerMatrix(original).outputs
    if after == before:
        return torch.arange(before)
    same = torch.ones(after, before, dtype=torch.bool)
    blocks = _equal_blocks(LayerMatrix(pruned), LayerMatrix(original))
    if blocks.any(1).all():
        same &= blocks
    for pairs in ([(pruned, original), (pruned_norm, original_norm)], [(pruned_norm, original_norm)]):
        for names in (("bias", "weight", "running_mean", "running_var"), ("bias", "weight")):
            channels = _only_one(same & _equal_values(pairs, pruned, names))
            if channels is not None:
                return channels
    return _only_one(same)


def _equal_values(pairs: Sequence[tuple[Any, Any]], layer: Any, names: Sequence[str]) -> Tensor:
    """(after, before): where all values of single channels are the same."""
    same = torch.ones(1, 1, dtype=torch.bool)
    for new, old in pairs:
        for name in names:
            a, b = getattr(new, name, None), getattr(old, name, None)
            if not isinstance(a, Tensor) or not isinstance(b, Tensor) or (new is layer and name == "weight"):
                continue
            same = same & (a.detach().cpu()[:, None] == b.detach().cpu()[None])
    return same


def _only_one(same: Tensor) -> Tensor | None:
    """The one match of each row, if each has one and they are in ascending order."""
    if not (same.sum(1) == 1).all():
        return None
    channels = same.long().argmax(1)
    return channels if (channels[1:] > channels[:-1]).all() else None


def _equal_blocks(pruned: LayerMatrix, original: LayerMatrix) -> Tensor:
    """(after, before): where most of a pruned row's blocks are found in the original's row."""
    new, old = _hashes(pruned), _hashes(original)
    values, order = old.flatten().sort()
    row = order // old.shape[1]
    wanted = new[:, :_BLOCKS]
    left = torch.searchsorted(values, wanted.contiguous()).clamp_max(len(values) - 1)
    right = (left + 1).clamp_max(len(values) - 1)
    # A value that the original has more than once tells nothing.
    hit = (values[left] == wanted) & ((values[right] != wanted) | (right == left))
    votes = torch.zeros(len(new), len(old))
    votes.scatter_add_(1, row[left], hit.float())
    seen = hit.sum(1, keepdim=True)
    return (votes > 0.5 * seen) & (seen > 0)


def _hashes(layer: LayerMatrix) -> Tensor:
    """(outputs, C/groups): one number for the kernel between an output and an input channel."""
    weight = layer.layer.weight.detach().cpu()
    if layer.transposed:
        weight = weight.unflatten(0, (layer.groups, -1)).movedim(1, 2).flatten(0, 1)
    bits = weight.flatten(2).float() if weight.dim() > 2 else weight[..., None].float()
    bits = bits.contiguous().view(torch.int32).long()
    factors = torch.randint(2**61, (bits.shape[-1],), generator=torch.Generator().manual_seed(0)) | 1
    return (bits * factors).sum(-1)


class Correlation:
    """Matches channels by the correlation of their maps.

    Args:
        name: of the layer, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._new: list[Tensor] = []
        self._old: list[Tensor] = []

    def add(self, pruned: Tensor, original: Tensor) -> None:
        """Add rows (R, after) and (R, before) of the same positions."""
        if sum(map(len, self._new)) < _ROWS:
            self._new.append(pruned.double())
            self._old.append(original.double())

    def channels(self) -> Tensor:
        """The kept channels (after,), in ascending order: the alignment with the highest sum of correlations.

        Raises:
            ValueError: a channel resembles none or several.
        """
        new, old = (_standardized(torch.cat(rows)) for rows in (self._new, self._old))
        table = (new.mT @ old / len(new)).cpu()
        channels = _best_alignment(table)
        matched = table.gather(1, channels[:, None])
        same = (old[:, channels.to(old.device)].mT @ old / len(old)).cpu() > _SAME
        others = table.scatter(1, channels[:, None], -1.0).masked_fill(same, -1.0).amax(1, keepdim=True)
        doubtful = ((matched < _LEAST_CORRELATION) | (others > matched - _MARGIN)).sum()
        if doubtful:
            raise ValueError(
                f"cannot tell which channels of layer {self._name!r} were kept: neither weights nor batch "
                f"normalization are the original's, and {int(doubtful)} of {len(channels)} maps resemble none or "
                f"several of the original's: give kept={{{self._name!r}: [...]}} with the original's channels"
            )
        return channels


def _standardized(rows: Tensor) -> Tensor:
    rows = rows - rows.mean(0)
    return rows / rows.square().mean(0).sqrt().clamp_min(torch.finfo(torch.float64).tiny)


def _best_alignment(table: Tensor) -> Tensor:
    """Ascending columns, one for each row of ``table``, with the highest sum."""
    after, before = table.shape
    spare = before - after
    # best[k]: the highest sum so far if k columns were skipped before the current row's.
    best = torch.zeros(spare + 1, dtype=table.dtype)
    skips = []
    for row in range(after):
        before_row, origin = best.cummax(0)
        skips.append(origin)
        best = before_row + table[row, row : row + spare + 1]
    k = int(best.argmax())
    columns = []
    for row in reversed(range(after)):
        columns.append(row + k)
        k = int(skips[row][k])
    return torch.tensor(columns[::-1])
