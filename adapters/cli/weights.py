"""From ``--weights`` to weights in a network: files of state dicts, and weights of torchvision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...utils.state_files import StateFileError, fit_names, read_state_file
from ...utils.text import enumerate_some
from .errors import CommandError, UsageError
from .models import torchvision_models

__all__ = ["find_weights", "load_weights"]

_SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt", ".pkl", ".tar", ".npz", ".onnx")


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


def load_weights(model: nn.Module, path: Path) -> str:
    """Give a network the weights in a file: a state dict, a training checkpoint, or what ``save_pruned`` wrote.

    The file of a pruned model also sets its widths. See :func:`~foad_plugins.utils.state_files.read_state_file` for
    the forms; prefixes of wrappers in the names are removed where they fit the network then.

    Returns:
        What was read, in words.

    Raises:
        CommandError: no file of safetensors or of ``torch.save``, a pickled object, no regular file, or tensors that do
            not fit the network.
    """
    try:
        file = read_state_file(path)
    except OSError as error:
        raise CommandError(f"the weights file cannot be read: {error}") from error
    except StateFileError as error:
        raise CommandError(str(error)) from error
    if "foad_plugins" in file.metadata:
        from ..checkpoint.api import load_pruned

        load_pruned(model, path)
        return f"the pruned model in {path}"
    state, prefix = fit_names(file.tensors, model.state_dict())
    _fill(model, state, path)
    entry = f"{file.entry} in " if file.entry else ""
    return f"{entry}{path}" + (f", without the prefix {prefix!r} of its names" if prefix else "")


def _fill(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    own = model.state_dict()
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
