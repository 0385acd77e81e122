"""Check a removal: the original with the removed channels zeroed must give the outputs of the pruned network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_map

from ...calibration.data import Call, ForwardFn
from ...calibration.preserve import preserve_state
from ...utils.layers import channel_axis
from ...utils.memory import is_out_of_memory
from ...utils.outputs import output_tensors
from ..torch_pruning.groups import CoupledGroup

__all__ = ["outputs", "outputs_differ", "outputs_with_zeroed_channels"]

# Greatest difference that counts as rounding, relative to the greatest output.
_TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-3}
_COARSE = 3e-2


def outputs(model: nn.Module, call: Call, forward_fn: ForwardFn | None) -> list[Tensor]:
    """All tensors that a call returns, in float64 where the model can be run so, else in its own precision."""
    with preserve_state(model), torch.no_grad():
        try:
            found = _run(model, call, forward_fn, torch.float64)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            # The model has operators or hard-coded types without double precision.
            found = _run(model, call, forward_fn, None)
    return [tensor.detach().clone() for tensor in output_tensors(found)]


def outputs_with_zeroed_channels(
    model: nn.Module, call: Call, forward_fn: ForwardFn | None, removals: Sequence[tuple[CoupledGroup, Sequence[int]]]
) -> list[Tensor]:
    """What the model returns when some channels are zero at the input of their consumers.

    Args:
        model: before those channels are removed; left unchanged.
        call: what to call it with.
        forward_fn: called as ``forward_fn(model, batch)`` instead of the model itself.
        removals: groups, and channels of their roots.
    """
    zeroed: dict[nn.Module, set[int]] = {}
    for group, channels in removals:
        for module, columns in group.consumed(channels).items():
            zeroed.setdefault(module, set()).update(columns)
    with ExitStack() as stack:
        for module, indices in zeroed.items():
            hook = _zero(module, torch.tensor(sorted(indices), dtype=torch.long))
            stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        return outputs(model, call, forward_fn)


def outputs_differ(expected: Sequence[Tensor], actual: Sequence[Tensor]) -> bool:
    """Whether two lists of outputs differ by more than rounding."""
    if [tensor.shape for tensor in expected] != [tensor.shape for tensor in actual]:
        return True
    return any(_exceeds_tolerance(first, second) for first, second in zip(expected, actual, strict=True))


def _exceeds_tolerance(expected: Tensor, actual: Tensor) -> bool:
    if not expected.is_floating_point() or expected.numel() == 0:
        # Indices and masks follow from tensors that are compared as well, and may flip on a tie.
        return False
    coarser = min(expected.dtype, actual.dtype, key=lambda dtype: -torch.finfo(dtype).eps)
    first, second = expected.double(), actual.double()
    if not torch.equal(first.isfinite(), second.isfinite()):
        return True
    usable = first.isfinite()
    if not usable.any():
        return False
    gap = (first - second)[usable].abs().max()
    return bool(gap > _TOLERANCE.get(coarser, _COARSE) * first[usable].abs().max())


def _zero(module: nn.Module, columns: Tensor) -> Callable[..., Any]:
    """A hook that zeroes some channels (or features) of a layer's input."""
    axis = channel_axis(module)

    def cleared(tensor: Any) -> Any:
        if isinstance(tensor, PackedSequence):
            return tensor._replace(data=cleared(tensor.data))
        return tensor.index_fill(axis, columns.to(tensor.device), 0)

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (cleared(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "input": cleared(kwargs["input"])}

    return hook


def _run(model: nn.Module, call: Call, forward_fn: ForwardFn | None, dtype: torch.dtype | None) -> Any:
    if dtype is None:
        return call.run(model, forward_fn)

    def cast(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    caller = _Caller(model, forward_fn)
    # Every module once and nothing tied: a module with two names would be swapped twice, and restored wrongly.
    state: Mapping[str, Tensor] = {
        f"{prefix}.{name}": cast(value)
        for prefix, module in caller.named_modules()
        for name, value in [*module._parameters.items(), *module._buffers.items()]
        if value is not None
    }
    inputs = Call(tree_map(cast, call.args), tree_map(cast, call.batch), tree_map(cast, call.kwargs))
    return functional_call(caller, dict(state), (inputs,), tie_weights=False)


class _Caller(nn.Module):
    """A model behind one argument, so that its parameters can be replaced during a call."""

    def __init__(self, model: nn.Module, forward_fn: ForwardFn | None) -> None:
        super().__init__()
        self.model = model
        self._forward_fn = forward_fn

    def forward(self, call: Call) -> Any:
        """Call the model."""
        return call.run(self.model, self._forward_fn)
