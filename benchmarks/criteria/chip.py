"""CHIP: channels whose feature maps depend on the layer's other maps are removed first."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .feature_map_base import FeatureMapCriterion
from .register import register_criterion

_ENTRIES = 2**21
"""Elements of the matrices that are decomposed in one call, 16 MiB."""


@dataclass(frozen=True, eq=False)
class MapMatrices:
    """A layer's maps as matrices (C, H*W), one an image, held in the smaller of two forms.

    The nuclear norm, the sum of singular values, is the sum of the square roots of the eigenvalues of A A^T, and of
    A^T A as well. In double precision that costs singular values below about 1e-8 of the largest, and no others.

    Attributes:
        products: (N, C, C) float64, A A^T, where there are at least as many positions as channels; else None.
        rows: (N, C, H*W) float64, A itself, otherwise.
    """

    products: torch.Tensor | None
    rows: torch.Tensor | None

    @classmethod
    def of(cls, feature_map: torch.Tensor) -> MapMatrices:
        """From maps (N, C, ...); vectors (N, C) count as maps of one position.

        Raises:
            ValueError: if there is no channel dimension or a value is not finite.
        """
        if feature_map.dim() < 2:
            raise ValueError(f"channel independence needs maps (N, C, ...), got shape {tuple(feature_map.shape)}")
        if not feature_map.isfinite().all():
            raise ValueError("its feature maps hold NaN or Inf, which have no nuclear norm")
        maps = feature_map.detach().to("cpu", torch.float64).flatten(1).unflatten(1, (feature_map.shape[1], -1))
        if maps.shape[2] >= maps.shape[1]:
            return cls(maps @ maps.transpose(1, 2), None)
        return cls(None, maps.clone())

    def independence(self) -> torch.Tensor:
        """(N, C) float64: by how much the nuclear norm falls when a channel's map is zeroed; at least 0.

        A dead channel has 0, exactly.
        """
        if self.products is not None:
            return torch.stack([_without_rows(product) for product in self.products])
        assert self.rows is not None
        return torch.stack([_without_vectors(rows) for rows in self.rows])


def _without_rows(product: torch.Tensor) -> torch.Tensor:
    """A zeroed row of A is a zeroed row and column of A A^T."""
    channels = torch.arange(len(product))

    def part(zeroed: torch.Tensor) -> torch.Tensor:
        matrices = product.expand(len(zeroed), -1, -1).clone()
        numbers = torch.arange(len(zeroed))
        matrices[numbers, zeroed, :] = 0
        matrices[numbers, :, zeroed] = 0
        return _nuclear_norms(matrices)

    norms = [part(zeroed) for zeroed in channels.split(max(1, _ENTRIES // product.numel()))]
    return (_nuclear_norms(product) - torch.cat(norms)).clamp_min(0)


def _without_vectors(rows: torch.Tensor) -> torch.Tensor:
    """A zeroed row of A takes its outer product away from A^T A."""
    product = rows.T @ rows
    norms = [
        _nuclear_norms(product - part.unsqueeze(2) * part.unsqueeze(1))
        for part in rows.split(max(1, _ENTRIES // product.numel()))
    ]
    return (_nuclear_norms(product) - torch.cat(norms)).clamp_min(0)


def _nuclear_norms(products: torch.Tensor) -> torch.Tensor:
    """(..., n, n) Gram matrices to the sums of their eigenvalues' square roots."""
    return torch.linalg.eigvalsh(products).clamp_min(0).sqrt().sum(-1)


@register_criterion("chip", needs_context=True)
class CHIP(FeatureMapCriterion):
    """Channel independence: what a map adds to the nuclear norm of its layer (CHIP; Sui et al., NeurIPS 2021).

    Of an image's maps as a matrix (C, H*W) the nuclear norm, minus the nuclear norm of that matrix with the channel's
    row zeroed, and the mean of this over the images. A low score means that the other channels span what this one
    shows. Exact, as the paper's code is, but by eigenvalues instead of singular values; maps are taken after BN and
    activation, and at a residual sum before the sum.

    Only the layers that a group asks for are decomposed; until then C * min(C, H*W) numbers in double precision are
    held of every image and layer, on the CPU. Arguments and errors are those of :class:`FeatureMapCriterion`.
    """

    def keep(self, feature_map: torch.Tensor) -> MapMatrices:
        """The matrices that decompositions start from."""
        return MapMatrices.of(feature_map)

    def score(self, kept: list[MapMatrices]) -> torch.Tensor:
        """Mean independence over images."""
        return torch.cat([matrices.independence() for matrices in kept]).mean(0)
