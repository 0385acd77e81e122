"""Criteria that run the network over the calibration images before they score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
import torch_pruning as tp
from torch import nn

from ...calibration.data import model_device
from ...calibration.fingerprint import ModelFingerprint
from .spec import CriterionContext

_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


class DataDrivenCriterion(tp.importance.Importance):
    """Runs :meth:`calibrate` at the first group of a network, and again once its weights or shapes have changed.

    Args:
        context: gives the calibration images.
        batch_size: images per pass; bounds memory, changes nothing else.

    Raises:
        ValueError: if ``batch_size`` is below 1 or there are no images.
    """

    def __init__(self, context: CriterionContext, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size: at least 1, got {batch_size!r}")
        if len(context.images) == 0:
            raise ValueError(f"images: {type(self).__name__} needs at least one calibration image, got none")
        self._images = context.images
        self._batch_size = batch_size
        self._fingerprint: ModelFingerprint | None = None
        self._skip_reasons: dict[nn.Module, str] = {}

    @abstractmethod
    def calibrate(self, model: nn.Module) -> None:
        """Run ``model`` over :meth:`batches` and keep what scores are made of; leaves the model unchanged."""

    def prepare(self, model: nn.Module) -> None:
        """Calibrate, unless that was done for this network and nothing has changed since."""
        if self._fingerprint is None or not self._fingerprint.matches(model):
            self._skip_reasons = {}
            self.calibrate(model)
            self._fingerprint = ModelFingerprint(model)

    def batches(self, model: nn.Module) -> Iterator[torch.Tensor]:
        """The calibration images in batches, on the device of ``model``."""
        device = model_device(model)
        for batch in self._images.split(self._batch_size):
            yield batch.to(device)

    def skip(self, layer: nn.Module, why: str) -> None:
        """Record why a layer has no scores.

        It becomes an error only if a group asks for the layer: a network may have layers that are not pruned.
        """
        self._skip_reasons.setdefault(layer, why)

    def check(self, model: nn.Module, layer: nn.Module, *, known: bool) -> None:
        """Insist that a layer was calibrated without a problem.

        Raises:
            ValueError: if it was not; names the layer.
        """
        if known and layer not in self._skip_reasons:
            return
        name = next(name for name, module in model.named_modules() if module is layer)
        reason = self._skip_reasons.get(layer, "it was not run on the calibration images")
        raise ValueError(f"{type(self).__name__} has no scores for layer {name!r}: {reason}")

    @staticmethod
    def layers(model: nn.Module) -> list[nn.Module]:
        """Every convolution and Linear layer of a network."""
        return [module for module in model.modules() if isinstance(module, _LAYERS)]
