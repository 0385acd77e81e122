"""One network's outputs and feature maps compared with another's on the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...calibration.data import Call, ForwardFn
from ...utils.outputs import output_tensors
from .distillation import OutputLoss, relative_squared_error
from .feature_maps import layer_outputs, matching_layers, unchanged_layers

__all__ = ["Comparison", "OutputTransform"]

OutputTransform = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class Comparison:
    """The loss of a network on images: how far it is from the original.

    Attributes:
        model: the network.
        original: the network whose outputs are the targets.
        loss: of one output tensor; several output tensors count alike.
        feature_layers: names of layers whose outputs are compared too, by squared error over the variance.
        feature_weight: what the mean over these layers is multiplied by.
        forward_fn: called as ``forward_fn(network, batch)`` instead of the network itself.
        output_transform: called with what the network returns; its result is compared.
        autocast: the networks run in bfloat16 where torch allows it.
    """

    model: nn.Module
    original: nn.Module
    loss: OutputLoss
    feature_layers: tuple[str, ...] = ()
    feature_weight: float = 1.0
    forward_fn: ForwardFn | None = None
    output_transform: OutputTransform | None = None
    autocast: bool = False

    def training_loss(self, call: Call) -> Tensor:
        """The loss of the model on a batch, with its graph; shape ()."""
        device = _device_type(call)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.autocast):
            with torch.no_grad(), layer_outputs(self.original, self.feature_layers) as wanted:
                targets = self._outputs(self.original, call)
            with layer_outputs(self.model, self.feature_layers) as found:
                outputs = self._outputs(self.model, call)
        total = self._output_loss(outputs, targets)
        if self.feature_layers:
            errors = [
                relative_squared_error(output, target, centered=True)
                for name in self.feature_layers
                for output, target in zip(_floats(found.get(name)), _floats(wanted.get(name)), strict=True)
            ]
            total = total + self.feature_weight * torch.stack(errors).mean()
        return total

    @torch.no_grad()
    def output_loss(self, calls: Sequence[Call]) -> Tensor:
        """The mean loss of the outputs alone over batches, in float32 and without a graph; shape ()."""
        losses = [
            self._output_loss(self._outputs(self.model, call), self._outputs(self.original, call)) for call in calls
        ]
        return torch.stack(losses).mean()

    @torch.no_grad()
    def check(self, call: Call) -> None:
        """Raise a ValueError if the outputs of the two networks on a batch cannot be compared."""
        targets, outputs = self._outputs(self.original, call), self._outputs(self.model, call)
        if not targets:
            raise ValueError(
                "the original's output has no floating-point tensor: give output_transform= (or forward_fn=) that "
                "returns what is to be compared"
            )
        there, here = [tuple(tensor.shape) for tensor in targets], [tuple(tensor.shape) for tensor in outputs]
        if there != here:
            raise ValueError(f"model and original must have outputs of the same shapes, got {here} and {there}")
        value = self._output_loss(outputs, targets)
        if value.shape != ():
            raise ValueError(f"loss must return a tensor of shape (), got {tuple(value.shape)}")

    def find_layers(self, call: Call) -> tuple[str, ...]:
        """The layers whose width pruning did not change, see :func:`~.feature_maps.unchanged_layers`."""
        return unchanged_layers(
            self.model, self.original, lambda: self._run(self.model, call), lambda: self._run(self.original, call)
        )

    @torch.no_grad()
    def check_layers(self, patterns: Sequence[str], call: Call) -> tuple[str, ...]:
        """The layers that fit the patterns, after a check that both networks give maps of the same shapes there.

        Raises:
            ValueError: a pattern fits none, a layer does not run, or the shapes differ.
        """
        names = matching_layers(self.model, self.original, patterns)
        with layer_outputs(self.original, names) as wanted, layer_outputs(self.model, names) as found:
            self._run(self.original, call)
            self._run(self.model, call)
        for name in names:
            there, here = _floats(wanted.get(name)), _floats(found.get(name))
            if not there:
                raise ValueError(f"feature_layers: {name!r} gives no floating-point tensor, or does not run")
            if [tensor.shape for tensor in there] != [tensor.shape for tensor in here]:
                shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (here, there)]
                raise ValueError(
                    f"feature_layers: {name!r} must give the same shapes in model and original, got {shapes[0]} and "
                    f"{shapes[1]}"
                )
        return names

    def _run(self, network: nn.Module, call: Call) -> Any:
        return call.run(network, self.forward_fn)

    def _outputs(self, network: nn.Module, call: Call) -> list[Tensor]:
        output = self._run(network, call)
        return _floats(output if self.output_transform is None else self.output_transform(output))

    def _output_loss(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        if [tensor.shape for tensor in outputs] != [tensor.shape for tensor in targets]:
            raise ValueError(
                "model and original gave outputs of different shapes for a batch: give output_transform= that returns "
                "tensors whose shapes do not depend on their values"
            )
        losses = [self.loss(output, target) for output, target in zip(outputs, targets, strict=True)]
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()


def _floats(value: Any) -> list[Tensor]:
    """Floating-point tensors, in float32 at least."""
    tensors = [tensor for tensor in output_tensors(value) if tensor.is_floating_point()]
    return [tensor if tensor.dtype == torch.float64 else tensor.float() for tensor in tensors]


def _device_type(call: Call) -> str:
    tensors = [value for value in (*call.args, *call.kwargs.values()) if isinstance(value, Tensor)]
    return tensors[0].device.type if tensors else "cpu"
