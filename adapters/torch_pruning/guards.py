"""Checks for models that cannot be pruned, run before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from ...calibration.preserve import check_model
from ...utils.layers import layer_width
from ...utils.text import enumerate_some
from ...utils.warnings import OutputWidthWarning, warn
from .groups import CoupledGroup

__all__ = ["OutputWidths", "check_no_parametrization", "check_prunable", "groups_with_shared_parameters"]

# Hooks of torch that compute a weight before each call, and the functions that end this.
_OLD_STYLE = {"WeightNorm": "remove_weight_norm", "SpectralNorm": "remove_spectral_norm"}


def check_prunable(model: nn.Module) -> None:
    """Refuse models whose layers cannot be observed or changed.

    Raises:
        TypeError: not a model.
        ValueError: it is TorchScript or exported, has no data, or was made in inference mode.
    """
    check_model(model)
    for name, module in model.named_modules():
        where = f"layer {name!r}" if name else "the model"
        if isinstance(module, torch.jit.ScriptModule) and (not name or _has_tensors(module)):
            raise ValueError(f"{where} is TorchScript, whose layers are fixed: prune the module it was made from")
        if "eval" in vars(module):
            raise ValueError(f"{where} was exported, which fixed its layers: prune the module it was made from")
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is None or is_lazy(tensor):
                continue
            if tensor.is_meta:
                raise ValueError(f"{where} has no data, it is on the meta device: load weights first")
            if tensor.is_inference():
                raise ValueError(
                    f"{where} was made in inference mode, so that no graph can be traced through it: make the model "
                    "outside torch.inference_mode(), or copy it there with copy.deepcopy"
                )


def _has_tensors(module: nn.Module) -> bool:
    return any(True for _ in (*module.parameters(), *module.buffers()))


def check_no_parametrization(model: nn.Module, groups: Sequence[CoupledGroup]) -> None:
    """Refuse layers whose weights are computed from other parameters: removal would not change those.

    Raises:
        ValueError: such a layer is in a group; names it.
    """
    touched = _members(groups)
    by_call: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        if module in touched and "weight_fake_quant" in module._modules:
            raise ValueError(
                f"the weight of layer {name!r} is quantized with a scale for each channel, as for quantization-aware "
                "training, and channels cannot be removed from it: prune before prepare_qat, or name the layer in "
                "ignored_layers, with the layers whose channels it consumes"
            )
        for call in _undoing_calls(module) if module in touched else ():
            by_call.setdefault(call, []).append(name)
    if by_call:
        names = list(dict.fromkeys(name for found in by_call.values() for name in found))
        calls = "; ".join(f"{call} of {', '.join(map(repr, found))}" for call, found in by_call.items())
        raise ValueError(
            f"the weight of layer{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))} is computed from other "
            "parameters, and channels cannot be removed from it: make it a plain parameter first "
            f"({calls}), or name the layers in ignored_layers, with the layers whose channels they consume"
        )


def _undoing_calls(module: nn.Module) -> list[str]:
    """The calls that make the computed tensors of a layer plain parameters, whichever way they are computed."""
    if is_parametrized(module):
        assert isinstance(module.parametrizations, nn.ModuleDict)
        return [
            f"torch.nn.utils.parametrize.remove_parametrizations(layer, {name!r})" for name in module.parametrizations
        ]
    hooks: dict[str, Any] = {type(hook).__name__: hook for hook in module._forward_pre_hooks.values()}
    calls = []
    for kind, hook in hooks.items():
        if type(hook).__module__.startswith("torch.nn.utils.prune"):
            calls.append(f"torch.nn.utils.prune.remove(layer, {hook._tensor_name!r})")
        elif kind in _OLD_STYLE and type(hook).__module__.startswith("torch.nn.utils."):
            calls.append(f"torch.nn.utils.{_OLD_STYLE[kind]}(layer, {hook.name!r})")
    # Other hooks leave the result among the plain attributes as well; getattr would compute a parametrized weight.
    layer = isinstance(module, (_ConvNd, nn.Linear, _NormBase))
    computed = not calls and layer and isinstance(module.__dict__.get("weight"), Tensor)
    return ["what undoes its hook"] if computed else calls


def groups_with_shared_parameters(model: nn.Module, groups: Sequence[CoupledGroup]) -> dict[CoupledGroup, str]:
    """The groups with layers that share a parameter with another layer, each with the reason to keep them whole.

    Removing channels would give each of these layers a smaller parameter of its own.
    """
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    found: dict[CoupledGroup, str] = {}
    for group in groups:
        for module in _members([group]):
            parameters = module.parameters(recurse=False) if isinstance(module, nn.Module) else [module]
            names = next((names for one in parameters if len(names := owners.get(id(one), [])) > 1), None)
            if names is not None:
                found[group] = (
                    f"layers {' and '.join(map(repr, names))} share a parameter, which removing channels would split"
                )
                break
    return found


def _members(groups: Sequence[CoupledGroup]) -> dict[nn.Module | nn.Parameter, None]:
    return {item.dep.target.module: None for group in groups for item in group.group}


class OutputWidths:
    """The widths of the layers that produce a model's output."""

    def __init__(self) -> None:
        self._known: dict[nn.Module, tuple[str, int]] = {}

    def check(self, widths: Mapping[nn.Module, tuple[str, int]]) -> None:
        """Warn of layers that have become narrower since the last call, and remember those given now.

        Args:
            widths: the name and the width of each layer.

        Warns:
            OutputWidthWarning: names them.
        """
        now = [(*known, layer_width(layer, "output")) for layer, known in self._known.items()]
        lost = [f"{name!r} ({width} to {left})" for name, width, left in now if left is not None and left < width]
        if lost:
            warn(
                f"the model's output has lost channels, at {enumerate_some(lost)}: name the layers that produce it, "
                "such as the classifier, in ignored_layers of the pruner",
                OutputWidthWarning,
            )
        self._known = dict(widths)
