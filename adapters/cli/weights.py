"""From ``--weights`` to weights in a network: files of state dicts, and weights of torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from ...utils.state_files import StateFileError, read_state_file
from ...utils.state_fit import load_state
from .errors import CommandError, UsageError, in_one_line
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
    if text and path.exists():
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
        if "foad_plugins" in file.metadata:
            from ..checkpoint.api import load_pruned

            load_pruned(model, path)
            return f"the pruned model in {path}"
        return load_state(model, file.tensors, file.source)
    except OSError as error:
        raise CommandError(f"the weights file cannot be read: {in_one_line(error)}") from error
    except StateFileError as error:
        raise CommandError(str(error)) from error
