"""Mask the batch normalization of every channel that an NNI pruner masks.

NNI masks the filters of a convolution but not the batch normalization after it, which outputs a constant for a
masked channel. ``ModelSpeedup`` removes this constant with the channel, so the pruned model differs from the masked
model that was evaluated. With these masks the two are equal. After NNI's own pruners::

    _, masks = pruner.compress()
    masks = mask_batch_norms(pruner, dummy_input)
    accuracy = evaluate(model)
    pruner.unwrap_model()
    ModelSpeedup(model, dummy_input, masks).speedup_model()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from ...calibration.data import Call
from ...calibration.preserve import preserve_state
from ...utils.layers import first_input

__all__ = ["batch_norm_masks", "batch_norm_wrappers", "mask_batch_norms"]

Masks = dict[str, dict[str, Tensor]]

_WEIGHTED = {f"conv{kind}{d}d" for kind in ("", "_transpose") for d in (1, 2, 3)} | {"linear"}
# Per-channel functions that may not be 0 at 0. NNI also passes removed channels through them unchanged.
_PASSED = {
    *("batch_norm", "instance_norm", "group_norm", "layer_norm", "sigmoid", "hardsigmoid", "logsigmoid"),
    *("softplus", "softmax", "softmin", "log_softmax", "gumbel_softmax"),
}


def batch_norm_masks(model: nn.Module, masks: Mapping[str, Mapping[str, Tensor | None]], dummy_input: Any) -> Masks:
    """Find the channels of every batch normalization that are zero after the masks are applied.

    A channel is zero if it comes from masked filters only: directly from the masked layer, as a part of a
    concatenation, through a depthwise convolution, or as a sum whose terms are all masked. The model runs once, on
    stand-in values (positive for channels that are not zero, else 0), so that no tracing is needed. It may be wrapped
    by NNI or not, and is unchanged.

    The masks must be free of conflicts, as ``auto_set_denpendency_group_ids`` makes them; ``ModelSpeedup`` changes
    others.

    Args:
        model: the model to prune.
        masks: layer name -> target name -> mask (0: removed), as NNI's ``compress()`` returns it. The masks
            of convolutions, linear layers and batch normalization are used.
        dummy_input: a tensor, the positional arguments as a tuple or list, the keyword arguments as a dict,
            or both as a :class:`~foad_plugins.calibration.data.Call`, on the model's device. Only shapes matter.

    Returns:
        For every batch normalization that ran, by name, its masks (1: kept): ``weight`` and ``bias`` of shape
        (C,), or ``_output_0`` of shape (1, C, 1, ...) if it has no parameters.

    Raises:
        ValueError: masks for a layer that the model does not have, or of a shape that does not fit the layer.
    """
    names = {module: name for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    kept = _kept_channels(model, masks)
    found: dict[str, Tensor] = {}

    def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if module in names:
            # The output of a wrapped model may have the mask of an earlier round.
            name, output = names[module], first_input(args, kwargs)
            nonzero = output.ne(0).transpose(0, 1).flatten(1).any(1) & kept.get(module, torch.tensor(True))
            nonzero = nonzero.view(1, -1, *[1] * (output.dim() - 2))
            found[name] = nonzero.logical_or(found.get(name, nonzero)).to(output.dtype)
        if module not in kept:
            return output
        return output.movedim(_channel_dim(module), -1).mul(kept[module]).movedim(-1, _channel_dim(module))

    args, kwargs = _stand_in_call(dummy_input)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(preserve_state(model))
        for module in {*names, *kept}:
            stack.callback(module.register_forward_hook(after, with_kwargs=True).remove)
        stack.enter_context(_ChannelProbe())
        model(*args, **kwargs)
    return {name: _masks_for(module, found[name]) for module, name in names.items() if name in found}


def batch_norm_wrappers(model: nn.Module, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Make the NNI wrappers that masks of batch normalization need.

    They have no ratio, so no pruner selects channels of them. A pruner takes them as ``existed_wrappers``, and
    wraps and unwraps them with its own.

    Args:
        model: the model.
        names: of the layers; by default of all batch normalization.

    Returns:
        Layer name -> ``nni.compression.base.wrapper.ModuleWrapper``.
    """
    from nni.compression.base.wrapper import ModuleWrapper

    if names is None:
        names = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    layers = {name: model.get_submodule(name) for name in names}
    return {name: ModuleWrapper(layer, name, _wrapper_config(layer)) for name, layer in layers.items()}


def mask_batch_norms(pruner: Any, dummy_input: Any) -> Masks:
    """Mask the batch normalization of an NNI pruner's model according to the pruner's masks.

    The pruner gets a wrapper for each such layer without one. Call it again after another ``compress()``.

    Args:
        pruner: any NNI pruner that masks filters, after ``compress()``; its model may be wrapped or not.
        dummy_input: as for :func:`batch_norm_masks`.

    Returns:
        All masks of the pruner, as its ``get_masks()``, with those of batch normalization, for ``ModelSpeedup``.
    """
    model, wrappers = pruner.bound_model, pruner._module_wrappers
    derived = {name for name, wrapper in wrappers.items() if wrapper.config == _wrapper_config(wrapper.module)}
    decided = {name: masks for name, masks in pruner.get_masks().items() if name not in derived}
    found = batch_norm_masks(model, decided, dummy_input)
    removing = {name for name, masks in found.items() if not all(mask.all() for mask in masks.values())}
    for name, wrapper in batch_norm_wrappers(model, removing - wrappers.keys()).items():
        wrappers[name] = wrapper
        if pruner._is_wrapped:
            wrapper.wrap()
    pruner.update_masks({name: masks for name, masks in found.items() if name in removing | derived})
    result: Masks = pruner.get_masks()
    return result


class _ChannelProbe(TorchFunctionMode):
    """Makes layers compute which of their output channels can be nonzero, instead of feature maps.

    The output of a convolution is positive if any of its inputs is; norms and gates return their input. The values
    are random, so that differences do not cancel, and of order one, so that they do not overflow in deep models.
    """

    def __init__(self) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(0)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").strip("_")
        if name in _PASSED:
            return first_input(args, kwargs)
        if name not in _WEIGHTED:
            return func(*args, **kwargs)
        call = {**dict(zip(("input", "weight", "bias"), args, strict=False)), **kwargs}
        call.pop("bias", None)
        reached = func(call.pop("input"), torch.ones_like(call.pop("weight")), None, *args[3:], **call)
        values = 1 + torch.rand(reached.shape, generator=self._generator)
        return reached.ne(0) * values.to(reached)


def _stand_in_call(dummy_input: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def fill(leaf: Any) -> Any:
        return torch.ones_like(leaf) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

    if isinstance(dummy_input, Call):
        return tree_map(fill, dummy_input.args), tree_map(fill, dummy_input.kwargs)
    filled = tree_map(fill, dummy_input)
    if isinstance(filled, Mapping):
        return (), dict(filled)
    return (tuple(filled), {}) if isinstance(filled, (tuple, list)) else ((filled,), {})


def _kept_channels(model: nn.Module, masks: Mapping[str, Mapping[str, Tensor | None]]) -> dict[nn.Module, Tensor]:
    kept: dict[nn.Module, Tensor] = {}
    for name, targets in masks.items():
        try:
            module = model.get_submodule(name)
        except AttributeError:
            raise ValueError(f"masks has an entry for {name!r}, which is no layer of the model") from None
        mask = targets.get("weight")
        if mask is None or not isinstance(module, (_ConvNd, nn.Linear, _BatchNorm)):
            continue
        try:
            mask = mask.expand_as(module.weight)
        except RuntimeError:
            expected = tuple(module.weight.shape)
            raise ValueError(
                f"masks[{name!r}]['weight'] has shape {tuple(mask.shape)}, which does not fit {expected}"
            ) from None
        by_channel = mask.transpose(0, 1) if isinstance(module, _ConvTransposeNd) else mask
        channels = by_channel.ne(0).reshape(len(by_channel), -1).any(1).to(module.weight.device)
        kept[module] = channels.repeat(module.groups) if isinstance(module, _ConvTransposeNd) else channels
    return kept


def _channel_dim(module: nn.Module) -> int:
    if isinstance(module, _ConvNd):
        return -1 - len(module.kernel_size)
    return 1 if isinstance(module, _BatchNorm) else -1


def _masks_for(module: nn.Module, kept: Tensor) -> dict[str, Tensor]:
    if not module.affine:
        return {"_output_0": kept}
    return {"weight": kept.flatten(), "bias": kept.flatten().clone()}


def _wrapper_config(module: nn.Module) -> dict[str, Any]:
    if getattr(module, "affine", True):
        return {"pruning": {"target_names": ["weight", "bias"]}}
    return {"pruning": {"target_names": ["_output_"], "target_settings": {"_output_": {"apply_method": "mul"}}}}
