"""Refit as the compensation of a step of pruning."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..calibration.data import CalibrationData, Call, model_device
from ..calibration.preserve import preserve_state
from .refit import refit
from .refitting.batches import first_of, image_count
from .refitting.memory import NotEnoughMemoryError
from .refitting.norms import is_channel_affine
from .refitting.patches import is_linear_map
from .refitting.plan import solvable_layers
from .refitting.report import RefitReport
from .refitting.trace import trace_run

__all__ = ["RefitStep"]

# With fewer, the penalty cannot be chosen on images that were left out.
_LEAST_IMAGES = 16


class RefitStep:
    """What a refit needs of the network before a step.

    Args:
        model: before the step.
        data: what the refit is done on; readable more than once.
        sample: an image or two, to see which layers run.

    Attributes:
        solvable: names of the layers that can be solved.

    Raises:
        ValueError: the model cannot be copied.
    """

    def __init__(self, model: nn.Module, data: CalibrationData, sample: Call) -> None:
        try:
            self._original = copy.deepcopy(model)
        except Exception as error:
            raise ValueError(
                f"compensate='refit' compares the model with a copy of it, and copy.deepcopy fails: {error}"
            ) from error
        self._data = data
        with preserve_state(model), torch.no_grad():
            trace = trace_run(model, sample, lambda model, call: call.run(model, data.forward_fn))
        self.solvable = solvable_layers(model, [trace])

    def weights(self, model: nn.Module) -> dict[nn.Module, nn.Parameter]:
        """The weights of the layers that will be solved, which need no other compensation.

        Weights that were fitted to the same images would make the images left out look better than they are.
        """
        modules = dict(model.named_modules())
        return {modules[name]: modules[name]._parameters["weight"] for name in self.solvable}

    def __call__(self, model: nn.Module, kept: Mapping[str, Tensor]) -> RefitReport:
        """Refit the pruned model.

        Args:
            model: after the step. The parameters that are written are new objects, so that the step can be undone.
            kept: by name of layer, the channels that are left of those before the step.
        """
        _renew(model)
        data = self._data
        settings: dict[str, Any] = {
            "kept": {name: kept[name].tolist() for name in self.solvable},
            "forward_fn": data.forward_fn,
            "progress": data.progress,
        }
        try:
            return refit(model, self._original, data.data, max_batches=data.max_batches, **settings)
        except NotEnoughMemoryError as error:
            if error.images < _LEAST_IMAGES:
                raise
            calls = _first_calls(data, model_device(model), error.images)
            report = refit(model, self._original, calls, **settings)
            note = f"refitted on {report.images} images, since memory does not hold the feature maps of more"
            return replace(report, notes=(*report.notes, note))


def _first_calls(data: CalibrationData, device: torch.device | None, images: int) -> list[Call]:
    """The first calls of calibration data, with this many images at most, and at least one call."""
    calls: list[Call] = []
    for call in data.calls(device):
        count = image_count(call)
        if count is not None and count > images:
            call, count = first_of(call, 0, images), images
        if images <= 0:
            break
        calls.append(call)
        images -= count or 1
    return calls


def _renew(model: nn.Module) -> None:
    """Put copies in place of the tensors that a refit writes into."""
    copies: dict[int, nn.Parameter] = {}
    for module in model.modules():
        if not (is_linear_map(module) or is_channel_affine(module)):
            continue
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in copies:
                    copied = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
                    copied.grad = parameter.grad
                    copies[id(parameter)] = copied
                module._parameters[name] = copies[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.clone()
