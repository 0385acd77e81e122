"""Pruned models as files without pickle: structure as integers in a JSON header, weights as safetensors."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from torch import nn

from .file import CheckpointError, encode, read_checkpoint, write_checkpoint
from .structure import apply_structure, structure_of

__all__ = ["CheckpointError", "load_pruned", "save_pruned"]

_PACKAGES = ("foad-plugins", "torch", "torch-pruning")


def save_pruned(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    original: nn.Module | Callable[[], nn.Module] | None = None,
) -> Path:
    """Save a pruned model to one safetensors file; :func:`load_pruned` reads it.

    It does not matter what pruned the model: :func:`~foad_plugins.prune`, a pruner of Torch-Pruning, NNI's speedup.
    Saved are parameters, buffers, which of them are shared, and integer attributes of modules such as
    ``out_channels``. Not saved are the classes, the memory format, and train or eval mode. The file is written in one
    step, and nothing in the model changes.

    Args:
        model: the pruned model.
        path: the file; a regular file that is there is replaced, and a link is written through to its target.
        original: the unpruned network, or a function that makes one. If given, the file is first loaded into it (a
            network is copied), so that a model that could not be loaded is refused here.

    Returns:
        The path.

    Raises:
        CheckpointError: the model has state that cannot be saved, or ``original`` cannot be given its structure.
        TypeError: ``original`` gives no network.
        OSError: the folder is missing, ``path`` is no regular file, or the file cannot be written.
    """
    try:
        tensors, content = structure_of(model)
        data = encode(tensors, {**content, "versions": _versions()})
        if original is not None:
            apply_structure(copy.deepcopy(_network(original)), content, tensors)
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"the model cannot be saved: {error}") from error
    write_checkpoint(Path(path), data)
    return Path(path)


def load_pruned(model: nn.Module | Callable[[], nn.Module], path: str | os.PathLike[str]) -> nn.Module:
    """Load what :func:`save_pruned` saved into a fresh, unpruned network.

    No example inputs are needed, and no data runs through the network. Where ``torch.fx`` can follow its code, a file
    whose layers do not fit each other is refused. Nothing is unpickled. A file of a stranger can set
    weights, and integers of modules to smaller positive ones that fit the weights, and nothing else. The outputs are
    those of the saved model, bit for bit on the same machine in eval mode, provided that the network is the one that
    was pruned. Tensors are new: create optimizers afterwards.

    Args:
        model: the unpruned network, with any weights, or a function that makes one, such as a class or
            ``lambda: resnet18(num_classes=10)``. A network is changed in place; on an error it is unchanged.
        path: the file.

    Returns:
        The network, on its device, in its train or eval mode and with its ``requires_grad`` flags.

    Raises:
        CheckpointError: the file is truncated, edited, of another version, or not of this kind; or it does not fit the
            network (other names, larger sizes, another dtype).
        TypeError: ``model`` gives no network.
        OSError: there is no file, or it cannot be opened.
    """
    file, fresh = Path(path), _network(model)
    stored = [*fresh.named_parameters(remove_duplicate=False), *fresh.named_buffers(remove_duplicate=False)]
    # Each layer may have been given a bias. Twice as much leads to a message that names what is too large.
    most = 2 * sum(tensor.element_size() * (tensor.numel() + max(tensor.shape, default=0)) for _, tensor in stored)
    content, tensors = read_checkpoint(file, most)
    try:
        apply_structure(fresh, content, tensors)
    except ValueError as error:
        raise CheckpointError(f"{file.name[-60:]!r} does not fit the network: {error}") from error
    return fresh


def _network(network: nn.Module | Callable[[], nn.Module]) -> nn.Module:
    fresh = network if isinstance(network, nn.Module) else network()
    if not isinstance(fresh, nn.Module):
        raise TypeError(f"the network must be a module or a function that makes one; it gave {type(fresh).__name__}")
    return fresh


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
