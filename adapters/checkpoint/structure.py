"""The structure of a pruned network as integer attributes and tensor shapes, and a fresh network given it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ...utils.rollback import rollback_on_error
from .consecutive import consecutive_problem
from .layers import HOOK_SUFFIXES, layer_problem

__all__ = ["apply_structure", "structure_of"]

# Attributes that no pruning changes.
_GEOMETRY = {"dilation", "kernel_size", "num_layers", "output_padding", "padding", "stride"}


def structure_of(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Parameters and buffers as copies on the CPU, and the rest of a model's structure as a JSON value.

    The JSON value has ``attributes`` (integers and tuples of integers by module), ``fixed`` (floats, lists of numbers,
    and shapes of plain tensors, which a fresh network must have in the same form), ``shared`` (names whose tensor is
    that of another name) and ``parameters`` (how many numbers are trained).

    Raises:
        ValueError: state that safetensors cannot hold.
    """
    first: dict[int, str] = {}
    tensors: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    for name, (module, leaf) in _slots(model).items():
        value = _stored(module, leaf)
        if value is None:
            continue
        if value.is_meta or is_lazy(value):
            raise ValueError(f"{name!r} has no data: it is on the meta device, or of a lazy layer that has not run")
        if id(value) in first:
            shared[name] = first[id(value)]
            continue
        first[id(value)] = name
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
    for name, module in model.named_modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            raise ValueError(f"module {name!r} has extra state, which may be anything and is not saved")
    return tensors, {
        "attributes": _each(model, _as_integers),
        "fixed": _each(model, _as_fixed),
        "shared": shared,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def apply_structure(model: nn.Module, content: Any, tensors: Mapping[str, Tensor]) -> None:
    """Give a fresh network the structure and the weights of a pruned one, in place.

    Nothing grows: every size and every integer is at most what the fresh network has.

    Args:
        model: unchanged if anything raises.
        content: what :func:`structure_of` gave, from a file that may be forged.
        tensors: by name.

    Raises:
        ValueError: they do not fit the network, or not each other.
    """
    attributes, fixed, shared = (_mapping(content, key) for key in ("attributes", "fixed", "shared"))
    modules, slots = dict(model.named_modules()), _slots(model)
    # Subclasses may store their weights in another form.
    regular = {name for name, module in modules.items() if layer_problem(module) is None}
    with rollback_on_error(model):
        for name in attributes:
            if name not in modules:
                raise ValueError(f"the network has no module {name!r}")
            for attribute, value in _mapping(attributes, name).items():
                _set_integers(modules[name], name, attribute, value)
        _load_tensors(slots, tensors, shared)
        for name, module in modules.items():
            _check_fixed(module, name, _mapping(fixed, name) if name in fixed else {})
            problem = layer_problem(module) if name in regular else None
            if problem is not None:
                raise ValueError(f"layer {name!r}: {problem}")
        problem = consecutive_problem(model)
        if problem is not None:
            raise ValueError(problem)


def _slots(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Where each parameter and buffer is, also those that are None."""
    return {
        f"{prefix}.{leaf}" if prefix else leaf: (module, leaf)
        for prefix, module in model.named_modules(remove_duplicate=False)
        for leaf in (*module._parameters, *module._buffers)
    }


def _stored(module: nn.Module, leaf: str) -> Tensor | None:
    return module._parameters[leaf] if leaf in module._parameters else module._buffers[leaf]


def _each(model: nn.Module, describe: Any) -> dict[str, dict[str, Any]]:
    found = {
        name: {
            attribute: described
            for attribute, value in vars(module).items()
            if not attribute.startswith("_") and (described := describe(value)) is not None
        }
        for name, module in model.named_modules()
    }
    return {name: values for name, values in found.items() if values}


def _as_integers(value: Any) -> int | tuple[int, ...] | None:
    integers = type(value) is int or (type(value) is tuple and value and all(type(part) is int for part in value))
    return value if integers else None


def _as_fixed(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {"shape": list(value.shape)}
    if isinstance(value, (list, torch.Size)):
        return list(value) if all(type(part) in (int, float) and math.isfinite(part) for part in value) else None
    return value if type(value) is float and math.isfinite(value) else None


def _set_integers(module: nn.Module, name: str, attribute: str, value: Any) -> None:
    value = tuple(value) if isinstance(value, list) else value
    fresh = _as_integers(vars(module).get(attribute))
    if fresh is None or attribute.startswith("_"):
        return  # Set by the model itself when it ran, as the size of its last input.
    where = f"{name}.{attribute}".lstrip(".")
    if _as_integers(value) is None or type(value) is not type(fresh):
        raise ValueError(f"{where!r} is {value!r:.40}, and in the network {fresh!r:.40}")
    if value == fresh:
        return
    if attribute in _GEOMETRY or not _shrinks(value, fresh):
        raise ValueError(
            f"{where!r} is {value!r:.40}, and in the network {fresh!r:.40}, which pruning does not lead to"
        )
    vars(module)[attribute] = value


def _shrinks(value: Any, fresh: Any) -> bool:
    values, limits = (value, fresh) if isinstance(fresh, tuple) else ((value,), (fresh,))
    pairs = zip(values, limits, strict=False)
    return len(values) == len(limits) and all(one == limit or 1 <= one < limit for one, limit in pairs)


def _load_tensors(
    slots: Mapping[str, tuple[nn.Module, str]], tensors: Mapping[str, Tensor], shared: Mapping[str, Any]
) -> None:
    for name, source in shared.items():
        if name in tensors or not (isinstance(source, str) and source in tensors):
            raise ValueError(f"{name!r} cannot share the tensor of {source!r:.60}")
    fresh = {name: _stored(module, leaf) for name, (module, leaf) in slots.items()}
    for name, current in fresh.items():
        if current is not None and name not in tensors and name not in shared:
            raise ValueError(f"the file has no {name!r}")
    placed: dict[str, Tensor] = {}
    for name in (*tensors, *shared):
        if name not in slots:
            raise ValueError(f"the network has no {name!r}")
        (module, leaf), current, source = slots[name], fresh[name], shared.get(name, name)
        if current is None:
            current = _new_bias(module, leaf, name)
        _check_tensor(name, tensors[source], current)
        is_parameter = leaf in module._parameters
        if source in placed and is_parameter == isinstance(placed[source], nn.Parameter):
            tensor = placed[source]
        else:
            tensor = tensors[source].to(current.device)
            tensor = nn.Parameter(tensor, requires_grad=current.requires_grad) if is_parameter else tensor
        placed[name] = tensor
        setattr(module, leaf, tensor)


def _new_bias(module: nn.Module, leaf: str, name: str) -> Tensor:
    """The largest bias that a layer could have; compensation gives one to layers that were made without."""
    weight = module._parameters.get("weight")
    if leaf != "bias" or weight is None:
        raise ValueError(f"the network has no {name!r}")
    return nn.Parameter(weight.detach().flatten(), requires_grad=weight.is_floating_point())


def _check_tensor(name: str, tensor: Tensor, current: Tensor) -> None:
    if current.is_meta or is_lazy(current):
        raise ValueError(f"the network's {name!r} has no data to replace: it is on the meta device, or lazy")
    if tensor.dtype != current.dtype:
        raise ValueError(
            f"{name!r} is {str(tensor.dtype)[6:]}, and {str(current.dtype)[6:]} in the network: cast the "
            "network first, as with network.bfloat16()"
        )
    shape, fresh = tuple(tensor.shape), tuple(current.shape)
    if not _shrinks(shape, fresh):
        raise ValueError(f"{name!r} has the shape {shape!r:.40}, which pruning {fresh!r:.40} does not lead to")


def _check_fixed(module: nn.Module, name: str, values: Mapping[str, Any]) -> None:
    for attribute, value in values.items():
        fresh = _as_fixed(vars(module).get(attribute))
        if any(attribute + suffix in module._parameters for suffix in HOOK_SUFFIXES):
            continue
        if fresh is not None and type(fresh) is type(value) and fresh != value:
            raise ValueError(
                f"{f'{name}.{attribute}'.lstrip('.')!r} is {value!r:.40} in the saved model and {fresh!r:.40} in the "
                "network; only integers are set: make the network with it"
            )


def _mapping(content: Any, key: str) -> dict[str, Any]:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, dict):
        raise ValueError(f"its header has no entry {key!r:.40} of the right form")
    return value
