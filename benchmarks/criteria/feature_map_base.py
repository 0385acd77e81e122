"""Criteria that judge a channel by the feature maps its producers make."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from ...calibration.preserve import preserve_state
from .base import DataDrivenCriterion
from .feature_maps import watch_producer_maps
from .groups import group_score, producers
from .spec import CriterionContext


class FeatureMapCriterion(DataDrivenCriterion):
    """Scores layers from their feature maps, all layers read in one pass over the calibration images.

    Maps are taken at the producer's side: after convolution, BN and activation, before any pooling. Where another
    operation follows BN, a residual sum for one, the map before that operation counts. Where several layers produce
    a group, the mean of their scores. Arguments and errors are those of :class:`DataDrivenCriterion`.
    """

    def __init__(self, context: CriterionContext, batch_size: int = 128) -> None:
        super().__init__(context, batch_size)
        self._kept: dict[nn.Module, list[Any]] = {}
        self._scores: dict[nn.Module, torch.Tensor] = {}

    @abstractmethod
    def keep(self, feature_map: torch.Tensor) -> Any:
        """What the scores need of one batch of a layer's maps (N, C, ...), without a reference to the maps.

        Raises:
            ValueError: if they allow no score; that becomes an error once a group asks for the layer.
        """

    @abstractmethod
    def score(self, kept: list[Any]) -> torch.Tensor:
        """Scores of a layer's channels, shape (C,), from what was kept of its batches; called once a layer."""

    def __call__(self, group: tp.dependency.Group) -> torch.Tensor | None:
        """Scores of the group's channels; None if no layer with filters makes them.

        Raises:
            ValueError: if a producing layer was not run, or its maps allow no score; names the layer.
        """
        model = group._DG.model
        self.prepare(model)
        for layer, _ in producers(group):
            self.check(model, layer, known=layer in self._kept)
        return group_score(group, self._layer_score)

    def calibrate(self, model: nn.Module) -> None:
        """Read the maps of all layers."""
        kept: dict[nn.Module, list[Any]] = {}

        def add(layer: nn.Module, feature_map: torch.Tensor) -> None:
            if isinstance(layer, nn.Linear) and feature_map.dim() > 2:
                # On tokens its channels are the last dimension.
                feature_map = feature_map.movedim(-1, 1)
            try:
                kept.setdefault(layer, []).append(self.keep(feature_map))
            except ValueError as error:
                self.skip(layer, str(error))

        with torch.no_grad(), preserve_state(model), watch_producer_maps(self.layers(model), add):
            for batch in self.batches(model):
                model(batch)
        self._kept, self._scores = kept, {}

    def _layer_score(self, layer: nn.Module) -> torch.Tensor:
        if layer not in self._scores:
            self._scores[layer] = self.score(self._kept[layer])
        return self._scores[layer]
