"""The formats that a model can be exported to: how each is written and run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..calibration.data import Call

__all__ = ["FORMATS", "Format", "tensors_in"]


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: as in ``export_model(format=...)``.
        suffixes: of its files.
        packages: needed besides torch.
        write: ``write(model, call, path, dynamic)`` writes a file, for any number of images if ``dynamic``.
        load: ``load(path)`` gives a function from a call to the tensors in the output.
    """

    name: str
    suffixes: tuple[str, ...]
    packages: tuple[str, ...]
    write: Callable[[nn.Module, Call, Path, bool], None]
    load: Callable[[Path], Callable[[Call], list[Tensor]]]


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in nested containers (lists, tuples, dicts), in order."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _program(model: nn.Module, call: Call, dynamic: bool) -> torch.export.ExportedProgram:
    shapes = torch.export.ShapesCollection()
    if dynamic:
        for tensor in tensors_in((call.args, call.kwargs)):
            shapes[tensor] = {0: torch.export.Dim.AUTO}
    return torch.export.export(model, call.args, call.kwargs, dynamic_shapes=shapes if dynamic else None)


def _write_pt2(model: nn.Module, call: Call, path: Path, dynamic: bool) -> None:
    torch.export.save(_program(model, call, dynamic), path)


def _load_pt2(path: Path) -> Callable[[Call], list[Tensor]]:
    module = torch.export.load(path).module()
    return lambda call: tensors_in(module(*call.args, **call.kwargs))


def _write_onnx(model: nn.Module, call: Call, path: Path, dynamic: bool) -> None:
    program = _program(model, call, dynamic)
    torch.onnx.export(program, f=path, dynamo=True, external_data=False, verbose=False)


def _load_onnx(path: Path) -> Callable[[Call], list[Tensor]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(call: Call) -> list[Tensor]:
        arrays = [tensor.detach().cpu().numpy() for tensor in tensors_in((call.args, call.kwargs))]
        return [torch.as_tensor(array) for array in session.run(None, dict(zip(names, arrays, strict=True)))]

    return run


def _write_torchscript(model: nn.Module, call: Call, path: Path, dynamic: bool) -> None:
    inputs = {"example_kwarg_inputs": call.kwargs} if call.kwargs else {"example_inputs": call.args}
    with _deprecated():
        torch.jit.trace(model, **inputs, check_trace=False, strict=False).save(path)


def _load_torchscript(path: Path) -> Callable[[Call], list[Tensor]]:
    with _deprecated():
        module = torch.jit.load(path)
    return lambda call: tensors_in(module(*call.args, **call.kwargs))


@contextmanager
def _deprecated() -> Iterator[None]:
    """Suppress the warning that TorchScript is deprecated: the user asked for it."""
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", r"`torch\.jit\.", category)
        yield


FORMATS = (
    Format("onnx", (".onnx",), ("onnx", "onnxruntime", "onnxscript"), _write_onnx, _load_onnx),
    Format("pt2", (".pt2",), (), _write_pt2, _load_pt2),
    Format("torchscript", (".ts", ".torchscript"), (), _write_torchscript, _load_torchscript),
)
