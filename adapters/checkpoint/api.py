"""Pruned models as files without pickle: the structure as the history of its pruning, the weights as safetensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...calibration.collect import ForwardFn
from ...calibration.data import Call, first_images, iter_calls, model_device
from ...utils.rollback import rollback_on_error
from .file import CheckpointError, read_checkpoint, write_sealed
from .history import PruningHistory, attach, describe, history_of, shapes
from .replay import check_shapes, differences, fresh_network, history_from, known_history, replay
from .state import load_tensors, saved_shapes, state_tensors

__all__ = ["CheckpointError", "load_pruned", "save_pruned"]

_PACKAGES = ("foad-plugins", "torch", "torch-pruning")


def save_pruned(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    history: Sequence[Sequence[Any]] | None = None,
    original: nn.Module | Callable[[], nn.Module] | None = None,
    example_inputs: Any = None,
    forward_fn: ForwardFn | None = None,
) -> Path:
    """Save a pruned model to one safetensors file, its structure and its weights; :func:`load_pruned` reads it.

    :func:`~foad_plugins.prune` notes on the model what it removes, and that is all there is to do after it, however
    often the model is pruned, fine-tuned or cast in between::

        prune(model, images)
        save_pruned(model, "small.safetensors")

    A model that a pruner of Torch-Pruning has pruned needs the pruner's history and the network as it was, and that
    this leads to the model is tried before anything is written::

        pruner.step()
        save_pruned(
            model, "small.safetensors", history=pruner.pruning_history(), original=resnet18, example_inputs=images
        )

    Saved are parameters, persistent buffers and which of them are shared; not the classes, other attributes that you
    have changed by hand, the memory format, and train or eval mode. The file is written in one step, and nothing in
    the model changes.

    Args:
        model: the pruned model.
        path: the file; one that is there is replaced.
        history: what ``pruning_history()`` of a pruner of Torch-Pruning gives; added to what the model remembers.
        original: with ``history`` only: the network before any pruning, or what makes one. A network is copied.
        example_inputs: with ``history`` only: inputs for tracing, in one of the forms of calibration data.
        forward_fn: with ``history`` only: called as ``forward_fn(model, batch)``.

    Returns:
        The path.

    Raises:
        CheckpointError: nothing says how the model was pruned, or what does leads to other shapes; or the model has
            state that safetensors cannot hold.
        TypeError: ``history`` without ``original`` or ``example_inputs``, or one of these without it.
        OSError: the folder is missing, or the file cannot be written.
    """
    if history is None:
        if original is not None or example_inputs is not None or forward_fn is not None:
            raise TypeError("original, example_inputs and forward_fn go with history, which is missing")
        known = known_history(model)
    elif original is None or example_inputs is None:
        raise TypeError("history of a pruner needs original (the unpruned network) and example_inputs")
    else:
        known = history_from(model, history, original, example_inputs, forward_fn)
    try:
        tensors, shared = state_tensors(model)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    content = {"history": known.to_json(), "shared": shared, "versions": _versions()}
    write_sealed(Path(path), tensors, content)
    return Path(path)


def load_pruned(
    model: nn.Module | Callable[[], nn.Module],
    path: str | os.PathLike[str],
    *,
    example_inputs: Any = None,
    forward_fn: ForwardFn | None = None,
) -> nn.Module:
    """Load what :func:`save_pruned` saved: prune a fresh network again in the same way, and give it the weights.

    Nothing is unpickled. The file must be whole (SHA-256 over all of it), the fresh network must be what the saved one
    was before pruning, and pruned it must have the shapes in the file. The outputs are those of the saved model, bit
    for bit on the same machine in eval mode. The tensors are new ones: create optimizers afterwards.

    Args:
        model: the unpruned network, with any weights, or what makes one, such as a class or
            ``lambda: resnet18(num_classes=10)``. A network is changed in place; if anything fails it is as it was.
        path: the file.
        example_inputs: inputs for tracing, in one of the forms of calibration data; None makes some of the form that
            pruning had, floating-point tensors at random and others zero.
        forward_fn: called as ``forward_fn(model, batch)``, for models that take their inputs in another way.

    Returns:
        The network, on its device, in its train or eval mode and with its ``requires_grad`` flags. Dtypes are the
        file's.

    Raises:
        CheckpointError: the file is truncated, edited, of a newer version, made for another network, or none of ours.
        TypeError: ``model`` gives no network.
        FileNotFoundError: there is no file.
    """
    file = Path(path)
    content, tensors = read_checkpoint(file)
    history, shared = _parse(file, content, tensors)
    expected = shapes(history.pruned)
    fresh = fresh_network(model)
    _check_network(file, fresh, history)
    call = _example(file, fresh, history, example_inputs, forward_fn)
    with rollback_on_error(fresh):
        try:
            replay(fresh, history, call, forward_fn)
            check_shapes(fresh, expected)
        except ValueError as error:
            raise CheckpointError(f"{str(file)!r}: {error}{_other_versions(content['versions'])}") from error
        load_tensors(fresh, tensors, shared)
        attach(fresh, history)
    return fresh


def _parse(file: Path, content: Any, tensors: Mapping[str, Tensor]) -> tuple[PruningHistory, dict[str, str]]:
    """The history and the names of shared tensors, checked."""
    try:
        if not isinstance(content, dict) or sorted(content) != ["history", "shared", "versions"]:
            raise ValueError("its header has other entries")
        history, shared, versions = PruningHistory.from_json(content["history"]), content["shared"], content["versions"]
        for names in (shared, versions):
            if not isinstance(names, dict) or not all(isinstance(text, str) for pair in names.items() for text in pair):
                raise ValueError("its header names tensors or versions in another way")
        wrong = differences(shapes(history.pruned), saved_shapes(tensors, shared))
        if wrong is not None:
            raise ValueError(f"its history and its tensors do not agree: {wrong}")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{str(file)!r} cannot be understood: {error}") from error
    return history, shared


def _check_network(file: Path, fresh: nn.Module, history: PruningHistory) -> None:
    """Refuse a network that is not what the saved one was before pruning."""
    for name, tensor in fresh.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and tensor.is_meta:
            raise CheckpointError(f"the network's {name!r} is on the meta device, where no weights can be put")
    wrong = differences(shapes(history.original), shapes(describe(fresh)))
    if wrong is None:
        return
    hint = ". It has been pruned before: give a fresh one" if history_of(fresh) is not None else ""
    raise CheckpointError(f"{str(file)!r} was made for another network: {wrong}{hint}")


def _example(
    file: Path, fresh: nn.Module, history: PruningHistory, example_inputs: Any, forward_fn: ForwardFn | None
) -> Call:
    """Inputs to trace a fresh network with, in its floating-point dtype whatever that of the original was."""
    device = model_device(fresh)
    if example_inputs is not None:
        return first_images(next(iter_calls(example_inputs, device)))
    now = {spec.name: spec.dtype for spec in describe(fresh)}
    dtypes = {getattr(torch, spec.dtype): getattr(torch, now[spec.name]) for spec in history.original}
    try:
        return history.example.make(device, item=forward_fn is not None, dtypes=dtypes)
    except ValueError as error:
        raise CheckpointError(f"{str(file)!r}: {error}") from error


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def _other_versions(written: Mapping[str, str]) -> str:
    here = _versions()
    other = [
        f"{name} {written[name]} (here {here[name]})" for name in here if written.get(name) not in (None, here[name])
    ]
    return f". It was written with {', '.join(other)}" if other else ""
