"""From ``--weights`` to weights in a network: safetensors files and weights of torchvision, never a pickle."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...utils.files import open_regular
from ...utils.text import enumerate_some
from .errors import CommandError, UsageError
from .models import torchvision_models

__all__ = ["find_weights", "load_weights"]

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pkl", ".tar", ".npz", ".onnx")
# torch.save writes a zip file, or in its old form a pickle, whose first two bytes are its protocol.
_PICKLES = (b"PK\x03\x04", *(bytes([0x80, protocol]) for protocol in range(2, 6)))
_CONVERT = (
    "import torch; from safetensors.torch import save_file; "
    "state = torch.load({source!r}, map_location='cpu', weights_only=True); "
    "save_file({{name: value.clone() for name, value in state.items()}}, {target!r})"
)


def find_weights(text: str, name: str | None) -> Any:
    """What ``--weights`` means: a file, as a path, or a member of a torchvision model's weights enum.

    Args:
        text: the option's value.
        name: the torchvision model's name; None for other models.

    Raises:
        UsageError: torchvision has no weights of that name.
        CommandError: there is no such file.
    """
    path = Path(text)
    if path.exists():
        return path
    if name is None or path.suffix in _SUFFIXES or len(path.parts) > 1:
        raise CommandError(f"there is no weights file {text!r}")
    weights = torchvision_models().get_model_weights(name)
    known = list(weights.__members__)
    member = text.removeprefix(f"{weights.__name__}.")
    if member not in known:
        raise UsageError(
            f"--weights {text!r} is neither a file nor weights that torchvision has for {name} ({', '.join(known)})"
        )
    return getattr(weights, member)


def load_weights(model: nn.Module, path: Path) -> None:
    """Give a network the weights in a safetensors file: a state dict, or what ``save_pruned`` wrote.

    The file of a pruned model also sets its widths. A prefix ``module.`` of all names, from a wrapper for several
    devices, is removed.

    Raises:
        CommandError: a pickle, no safetensors file, no regular file, or tensors that do not fit the network.
    """
    import safetensors.torch

    try:
        with open_regular(path) as stream:
            start = stream.read(4)
    except OSError as error:
        raise CommandError(f"the weights file cannot be read: {error}") from error
    if start.startswith(_PICKLES):
        target = str(path.with_suffix(".safetensors"))
        command = shlex.quote(_CONVERT.format(source=str(path), target=target))
        raise CommandError(
            f"{str(path)!r} is a pickle, which can run any code when it is opened, and is not read. If you trust it, "
            f"and it is a state dict, convert it: python -c {command}"
        )
    try:
        with safetensors.safe_open(path, "pt") as file:
            pruned = "foad_plugins" in (file.metadata() or {})
        state = safetensors.torch.load_file(path)
    except Exception as error:
        raise CommandError(f"{str(path)!r} is no complete safetensors file: {error}") from error
    if pruned:
        from ..checkpoint.api import load_pruned

        load_pruned(model, path)
        return
    _fill(model, state, path)


def _fill(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    own = model.state_dict()
    if state and not own.keys() & state.keys() and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    # A file may have a shared tensor under one of its names only.
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
        f"{len(names)} {what}: {enumerate_some(names, 3)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
        if names
    ]
    if wrong:
        raise CommandError(f"{str(path)!r} does not fit the model: {'; '.join(wrong)}{_hint(own, state, other)}")
    model.load_state_dict(dict(state), strict=False)


def _hint(own: Mapping[str, Tensor], state: Mapping[str, Tensor], other: Sequence[str]) -> str:
    """What to change if only the number of outputs of the last layer differs, else nothing."""
    differing = [name for name in own if name in state and own[name].shape != state[name].shape]
    last = {name.rpartition(".")[0] for name in differing}
    if len(last) != 1 or any(own[name].shape[1:] != state[name].shape[1:] for name in differing):
        return ""
    return f". The model in the file may have {len(state[differing[0]])} classes: see --num-classes"


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"
