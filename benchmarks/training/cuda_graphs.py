"""Training steps that are captured once as CUDA graphs and replayed, so that a GPU does not wait for Python."""

from __future__ import annotations

import warnings
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .hardware import Precision
from .objectives import Objective

_REDUCED: Final[dict[Precision, torch.dtype]] = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class GraphedObjective(nn.Module):
    """An objective whose forward and backward pass on batches of one shape are replayed.

    Small images leave a GPU idle between kernels that take less time than Python needs to start them. The capture is
    that of :func:`torch.cuda.make_graphed_callables`: what a network decides in Python, and what hooks do, happens
    once. Batches of another shape, such as the last one of an epoch, are run without the capture.

    Args:
        objective: on a GPU, in train mode; its buffers and parameters are as before when this returns.
        images: a batch of the shape that is replayed, in the memory format of later ones.
        labels: its labels.
        precision: of the passes, in Lightning Fabric's words.

    Raises:
        RuntimeError: if the network waits for the GPU inside a pass, for example to check values.
    """

    def __init__(self, objective: Objective, images: Tensor, labels: Tensor, precision: Precision) -> None:
        super().__init__()
        self.objective = objective
        self._shape = images.shape
        named = dict(objective.named_parameters())
        self._arguments = tuple(named.values())
        # Separate leaves on the same memory. A graph that is still alive somewhere, such as that of a tracing,
        # ties the parameters' own gradients to another stream, which no capture survives.
        leaves = [parameter.detach().requires_grad_(parameter.requires_grad) for parameter in self._arguments]

        def loss(images: Tensor, labels: Tensor, *parameters: Tensor) -> Tensor:
            mean: Tensor = functional_call(objective, dict(zip(named, parameters, strict=True)), (images, labels))
            return mean

        kept = [(buffer, buffer.clone()) for buffer in objective.buffers()]
        reduced = _REDUCED.get(precision)
        # Cached casts would keep their values of the first pass.
        cast = torch.autocast("cuda", dtype=reduced, enabled=reduced is not None, cache_enabled=False)
        with cast, warnings.catch_warnings():
            # Of the warm-up passes on their own stream; nothing is accumulated there.
            warnings.filterwarnings("ignore", "The AccumulateGrad node's stream does not match")
            batch = (images.clone(), labels.clone())
            arguments = (*batch, *leaves)
            self._replay: Any = torch.cuda.make_graphed_callables(loss, arguments, allow_unused_input=True)
        with torch.no_grad():
            # A capture starts with a few passes, which change the statistics of batch normalization.
            for buffer, before in kept:
                buffer.copy_(before)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch, a number."""
        loss: Tensor
        if images.shape == self._shape:
            loss = self._replay(images, labels, *self._arguments)
        else:
            loss = self.objective(images, labels)
        return loss
