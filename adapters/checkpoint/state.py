"""A model's state as plain tensors, each stored once, and back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["absent_parameters", "load_tensors", "saved_shapes", "state_tensors"]


def state_tensors(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Parameters and persistent buffers as copies on the CPU.

    Returns:
        The tensors by name, and for each name that shares its tensor with an earlier one, that earlier name.

    Raises:
        ValueError: state that is no tensor, or a tensor without data (on the meta device).
    """
    first: dict[int, str] = {}
    tensors: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise ValueError(f"the model's state has {name!r}, which is a {type(value).__name__} and no tensor")
        if value.is_meta:
            raise ValueError(f"{name!r} has no data: it is on the meta device")
        if id(value) in first:
            shared[name] = first[id(value)]
            continue
        first[id(value)] = name
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
    return tensors, shared


def saved_shapes(tensors: Mapping[str, Tensor], shared: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """Shapes by name, those of shared tensors under every name.

    Raises:
        ValueError: a name is said to share what is not there, or is there twice.
    """
    for name, source in shared.items():
        if name in tensors or source not in tensors:
            raise ValueError(f"{name!r} cannot share the tensor of {source!r}")
    named = {**tensors, **{name: tensors[source] for name, source in shared.items()}}
    return {name: tuple(tensor.shape) for name, tensor in named.items()}


def absent_parameters(model: nn.Module) -> set[str]:
    """Names of parameters that layers could have and do not, such as the bias of a convolution without one."""
    return {
        f"{prefix}.{name}".lstrip(".")
        for prefix, module in model.named_modules()
        for name, parameter in module._parameters.items()
        if parameter is None
    }


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], shared: Mapping[str, str]) -> None:
    """Put tensors into a model whose shapes they have, on the devices of those that they replace.

    They become new parameters and buffers of the model, so dtypes are theirs, and tensors are shared as they were.
    ``requires_grad`` stays. A parameter that a layer has left out (see :func:`absent_parameters`) is set, and trained.

    Raises:
        RuntimeError: names or shapes do not fit.
    """
    current = model.state_dict(keep_vars=True)
    loaded: OrderedDict[str, Tensor] = OrderedDict()
    # Some networks look for the version of their layout there, as torchvision's MNASNet does.
    loaded._metadata = getattr(current, "_metadata", None)  # type: ignore[attr-defined]
    for name in [*tensors, *shared]:
        source = shared.get(name, name)
        if source != name:
            loaded[name] = loaded[source]
            continue
        if name not in current:
            module, _, leaf = name.rpartition(".")
            layer = model.get_submodule(module)
            device = next(layer.parameters()).device
            setattr(layer, leaf, nn.Parameter(torch.empty_like(tensors[name], device=device)))
            current[name] = layer._parameters[leaf]
        tensor = tensors[name].to(current[name].device)
        if isinstance(current[name], nn.Parameter):
            tensor = nn.Parameter(tensor, requires_grad=current[name].requires_grad)
        loaded[name] = tensor
    model.load_state_dict(loaded, assign=True)
