"""What a network costs at other widths, as data: every layer's cost is a product of its outputs and its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

__all__ = ["LayerCosts", "NetworkCost"]

Share = tuple[int, int, float]


class NetworkCost(NamedTuple):
    """Parameters and FLOPs (one multiply-add is one) of a network; FLOPs are None where they cannot be counted."""

    params: float
    flops: float | None


@dataclass(frozen=True)
class LayerCosts:
    """Cost of a network as a function of the channels that each group loses.

    Attributes:
        params: of the network as it is.
        flops: of the network as it is, for one image; None where they cannot be counted.
        wide: for each layer that groups take channels from, its parameters that shrink with its outputs and its inputs.
        narrow: for each such layer, its parameters that shrink with its outputs alone.
        layer_flops: for each such layer, its FLOPs.
        outputs: (layer, group, share): the share of the layer's outputs that one channel of the group takes along.
        inputs: the same for the layer's inputs.
        groups: how many groups there are.
    """

    params: float
    flops: float | None
    wide: tuple[float, ...]
    narrow: tuple[float, ...]
    layer_flops: tuple[float, ...]
    outputs: tuple[Share, ...]
    inputs: tuple[Share, ...]
    groups: int

    def at(self, removed: Sequence[int]) -> NetworkCost:
        """The cost with some channels removed from each group."""
        wide, narrow, flops, out_share, in_share = self._arrays
        gone = np.asarray(removed, dtype=float)
        out = np.maximum(0, 1 - out_share @ gone)
        both = out * np.maximum(0, 1 - in_share @ gone)
        params = self.params - float(wide @ (1 - both) + narrow @ (1 - out))
        return NetworkCost(params, None if self.flops is None else self.flops - float(flops @ (1 - both)))

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> LayerCosts:
        """The costs from what :meth:`to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: fields of another form.
        """
        costs = cls(
            params=float(fields["params"]),
            flops=None if fields["flops"] is None else float(fields["flops"]),
            wide=tuple(map(float, fields["wide"])),
            narrow=tuple(map(float, fields["narrow"])),
            layer_flops=tuple(map(float, fields["layer_flops"])),
            outputs=tuple((int(layer), int(group), float(share)) for layer, group, share in fields["outputs"]),
            inputs=tuple((int(layer), int(group), float(share)) for layer, group, share in fields["inputs"]),
            groups=int(fields["groups"]),
        )
        layers = len(costs.wide)
        if not len(costs.narrow) == len(costs.layer_flops) == layers:
            raise ValueError("layers of different number")
        if any(
            not (0 <= layer < layers and 0 <= group < costs.groups) for layer, group, _ in costs.outputs + costs.inputs
        ):
            raise ValueError("a share of a layer or group that does not exist")
        return costs

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        shares = np.zeros((2, len(self.wide), self.groups))
        for side, entries in enumerate((self.outputs, self.inputs)):
            for layer, group, share in entries:
                shares[side, layer, group] = share
        return np.array(self.wide), np.array(self.narrow), np.array(self.layer_flops), shares[0], shares[1]
