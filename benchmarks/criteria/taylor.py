"""Taylor: channels whose removal changes the loss least, to first order, are removed first."""

from __future__ import annotations

import torch
import torch_pruning as tp
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from ...calibration.preserve import preserve_state
from .base import DataDrivenCriterion
from .groups import by_filter, group_totals, producers
from .register import register_criterion
from .spec import CriterionContext


@register_criterion("taylor", needs_context=True)
class Taylor(DataDrivenCriterion):
    """Squared first-order change of the loss without a channel's filters (Molchanov et al., CVPR 2019). Needs labels.

    The paper's joint form for a set S of weights: ``(sum over S of g * w) ** 2``, with g the gradient of the mean
    cross-entropy over the calibration images, taken in eval mode; all of them make the paper's one mini-batch. S is
    the filters of every layer that produces the channel, so that coupled layers (a residual stage) count jointly, as
    they are removed jointly. Biases and BN parameters are left out.

    Torch-Pruning's ``TaylorImportance(multivariable=True)`` is the square root of this for one layer, but it sorts a
    group's indices in place and then pairs them with the unsorted channels of the root, and it needs ``.grad`` on
    every parameter, frozen ones too. So it is not used here.

    Gradients are taken for copies of the weights: the network's ``.grad`` and ``requires_grad`` are never changed.

    Args:
        context: gives the calibration images and their labels.
        batch_size: images per pass; bounds memory, changes nothing else.

    Raises:
        ValueError: if there are no labels or images, or ``batch_size`` is below 1.
    """

    def __init__(self, context: CriterionContext, batch_size: int = 64) -> None:
        super().__init__(context, batch_size)
        if context.labels is None:
            raise ValueError("labels: Taylor needs the classes of the calibration images, got None")
        self._labels = context.labels
        self._changes: dict[nn.Module, torch.Tensor] = {}

    def __call__(self, group: tp.dependency.Group) -> torch.Tensor | None:
        """Scores of the group's channels, float64, at least 0; None if no layer with filters makes them.

        Raises:
            ValueError: if a producing layer was not run or its gradients are not finite (names the layer), or the
                network does not give logits that the labels fit.
        """
        model = group._DG.model
        self.prepare(model)
        for layer, _ in producers(group):
            self.check(model, layer, known=layer in self._changes)
        total, count = group_totals(group, self._changes.__getitem__)
        return total.square() if (count > 0).all() else None

    def calibrate(self, model: nn.Module) -> None:
        """Take the gradients of all filters."""
        layers = {id(layer.weight): layer for layer in self.layers(model)}
        with torch.inference_mode(False), torch.enable_grad(), preserve_state(model):
            copies = {
                name: parameter.detach().clone().requires_grad_()
                for name, parameter in model.named_parameters()
                if id(parameter) in layers
            }
            totals: dict[str, torch.Tensor] = {}
            start = 0
            for batch in self.batches(model):
                logits = functional_call(model, copies, (batch,))
                labels = self._labels[start : start + len(batch)].to(batch.device)
                loss = _checked_loss(logits, labels) / len(self._images)
                gradients = torch.autograd.grad(loss, list(copies.values()), allow_unused=True)
                for name, gradient in zip(copies, gradients, strict=True):
                    if gradient is not None:
                        totals[name] = totals[name] + gradient.double() if name in totals else gradient.double()
                start += len(batch)
        changes: dict[nn.Module, torch.Tensor] = {}
        parameters = dict(model.named_parameters())
        for layer in self.layers(model):
            name = next((name for name in totals if parameters[name] is layer.weight), "")
            if not name:
                continue
            changes[layer] = by_filter(layer, totals[name] * copies[name].detach().double()).sum(1)
            if not changes[layer].isfinite().all():
                self.skip(layer, "its gradients hold NaN or Inf")
        self._changes = changes


def _checked_loss(logits: object, labels: torch.Tensor) -> torch.Tensor:
    if not isinstance(logits, torch.Tensor) or logits.shape[:1] != labels.shape or logits.dim() != 2:
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"Taylor needs a network that gives logits ({len(labels)}, classes), got {got}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= logits.shape[1]:
        raise ValueError(f"labels: classes from 0 to {logits.shape[1] - 1}, as the network has, got {low} to {high}")
    return F.cross_entropy(logits, labels, reduction="sum")
