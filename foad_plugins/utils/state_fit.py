"""A state dict of a file into a network whose names may differ by the prefixes of wrappers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

from torch import Tensor, nn

from .state_files import StateFileError
from .text import enumerate_some

__all__ = ["fit_names", "load_state"]

_PREFIXES = ("module.", "_orig_mod.", "model.")
_DEPTH = 3
_LONGEST_NAME = 100


def load_state(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> str:
    """Give a network the tensors of a state dict, in the network's own precision.

    Prefixes of wrappers are removed from the names where they fit the network then. A tensor that the network has under
    several names may have one of them in the state dict, and counters of batches may be missing.

    Args:
        model: changed in place; unchanged on an error.
        tensors: by name.
        source: what errors call them, such as the path of their file.

    Returns:
        ``source``, and which prefix was removed, in words.

    Raises:
        StateFileError: a tensor is missing, has another shape, or is none of the network's.
    """
    own = model.state_dict()
    state, prefix = fit_names(tensors, own)
    present = {own[name].data_ptr() for name in state if name in own} - {0}
    missing = [
        name
        for name, value in own.items()
        if name not in state and value.data_ptr() not in present and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in state if name not in own]
    other = [
        f"{name} ({_shape(value)} in the file, {_shape(own[name])} in the model)"
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    wrong = [
        f"{len(names)} {what}: {enumerate_some((name[:_LONGEST_NAME] for name in names), 3)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
        if names
    ]
    if wrong:
        hint = _hint(own, state)
        raise StateFileError(f"{source} does not fit {type(model).__name__}: {'; '.join(wrong)}{hint}")
    model.load_state_dict(dict(state), strict=False)
    return source + (f", without the prefix {prefix!r} of its names" if prefix else "")


def fit_names(tensors: Mapping[str, Tensor], names: Iterable[str]) -> tuple[Mapping[str, Tensor], str]:
    """The tensors under the names of a network, without prefixes of wrappers where that makes more names fit.

    Args:
        tensors: by name.
        names: of the network's state dict.

    Returns:
        The tensors, and the prefix that was removed; empty if none.
    """
    own = set(names)
    best, removed, fitting = tensors, "", len(own & tensors.keys())
    for count in range(1, _DEPTH + 1):
        for parts in product(_PREFIXES, repeat=count):
            prefix = "".join(parts)
            renamed = {name.removeprefix(prefix): value for name, value in tensors.items()}
            found = len(own & renamed.keys())
            if found > fitting and len(renamed) == len(tensors):
                best, removed, fitting = renamed, prefix, found
    return best, removed


def _hint(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """The number of classes in the file if only the number of outputs of the last layer differs, else nothing."""
    differing = [name for name in own if name in state and own[name].shape != state[name].shape]
    last = {name.rpartition(".")[0] for name in differing}
    if len(last) != 1 or any(own[name].shape[1:] != state[name].shape[1:] for name in differing):
        return ""
    return f". The model in the file may have {len(state[differing[0]])} classes (num_classes)"


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"
