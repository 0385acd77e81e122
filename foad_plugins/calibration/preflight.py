"""Check that a model runs on the data, before any longer work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.outputs import output_tensors
from .collect import MissingBatchDimError, not_finite_state, require_batch_dim
from .data import Call, ForwardFn
from .preserve import preserve_state

__all__ = ["check_forward", "describe_inputs"]


def check_forward(model: nn.Module, call: Call, forward_fn: ForwardFn | None = None) -> None:
    """Call a model once in eval mode, without a change to it.

    Args:
        model: the model.
        call: the call.
        forward_fn: called as ``forward_fn(model, batch)`` instead of the model itself.

    Raises:
        ValueError: the model raises; the message contains a description of the inputs and the model's error. Or its
            output is not finite because its parameters or buffers are not.
    """
    with preserve_state(model), require_batch_dim(model), torch.no_grad():
        try:
            output = call.run(model, forward_fn)
        except MissingBatchDimError:
            raise
        except Exception as error:
            if forward_fn is not None:
                what = f"forward_fn fails on the first calibration batch ({describe_inputs(call.batch)})"
            else:
                what = f"the model does not run on the calibration data ({describe_inputs(call.kwargs or call.args)})"
            raise ValueError(f"data: {what}: {type(error).__name__}: {error}") from error
        finite = all(bool(tensor.isfinite().all()) for tensor in output_tensors(output))
        if not finite and (reason := not_finite_state(model)):
            raise ValueError(f"the model's output contains NaN or Inf{reason}")


def describe_inputs(value: Any) -> str:
    """A short description of a batch: shapes and dtypes of its tensors."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {describe_inputs(part)}" for name, part in value.items()) or "nothing"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(describe_inputs, value)) or "nothing"
    return type(value).__name__
