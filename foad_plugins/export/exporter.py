"""Exporting a model to a file that needs no source code, and comparing its outputs with the model's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..calibration.data import Call, iter_calls, model_device
from ..calibration.preserve import preserve_state
from ..utils.extras import require_extra
from ..utils.files import replaceable
from .formats import FORMATS, Format, tensors_in

__all__ = ["ExportError", "ExportReport", "check_compiled", "export_model"]


class ExportError(RuntimeError):
    """A model that cannot be exported or compiled, or whose file or compiled form gives other outputs."""


@dataclass(frozen=True)
class ExportReport:
    """A file that gives the outputs of the exported model.

    Attributes:
        path: the file.
        format: ``"onnx"``, ``"pt2"`` or ``"torchscript"``.
        size: of the file, in bytes.
        difference: largest absolute difference between outputs of the file and of the model.
        dynamic_batch: whether it takes any number of images; otherwise the number that it was exported with.
    """

    path: Path
    format: str
    size: int
    difference: float
    dynamic_batch: bool

    def __str__(self) -> str:
        batch = "any batch size" if self.dynamic_batch else "batch size as exported"
        return f"{self.path} ({self.format}): {self.size:,} bytes, {batch}, outputs within {self.difference:.1e}"


def export_model(
    model: nn.Module,
    inputs: Tensor | tuple[Any, ...] | Mapping[str, Any],
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    tolerance: float = 1e-4,
) -> ExportReport:
    """Export a model in eval mode, run the file, and compare its outputs with the model's.

    ONNX is written by ``torch.onnx.export`` and run by ONNX Runtime on the CPU, a ``.pt2`` is made by
    ``torch.export``, TorchScript by ``torch.jit.trace``. If all input tensors have the same number of images, the file
    is made for any number and run with several; if that fails, it is made for the given number. The model is unchanged.

    Args:
        model: any model, pruned or not.
        inputs: a tensor, a tuple of positional or a dict of keyword arguments; moved to the model's device.
        path: the file; an existing one is replaced after the new one has been checked, and a link is written through.
        format: ``"onnx"``, ``"pt2"`` or ``"torchscript"``; None uses the suffix of ``path``: ``.onnx``, ``.pt2``,
            ``.ts`` or ``.torchscript``.
        tolerance: largest difference between outputs, relative to the largest output of the model, or absolute if that
            is below 1.

    Returns:
        A report, which can be printed.

    Raises:
        ExportError: the model cannot be exported, or the outputs differ by more. Nothing is written.
        ImportError: ONNX or its runtime is not installed (extra ``export``).
        ValueError: no such format.
        TypeError: inputs of another form.
        OSError: the folder is missing, ``path`` is no regular file, or the file cannot be written.
    """
    path = Path(path)
    kind = _format(path, format)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r} to write {path.name!r} to")
    target = replaceable(path)
    call = _call(model, inputs)
    images = _images(call)
    # In the same folder, because a rename is atomic only within a file system.
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        draft = Path(folder) / f"model{kind.suffixes[0]}"
        with preserve_state(model), torch.no_grad():
            dynamic, difference = False, 0.0
            if images is not None:
                # torch.export takes a size of 1 for a constant.
                example = _resized(call, max(images, 2))
                tried = [call, _resized(call, 1), _resized(call, max(images, 2) + 1)]
                try:
                    difference, dynamic = _export(model, kind, draft, example, tried, tolerance, dynamic=True), True
                except Exception:
                    dynamic = False
            if not dynamic:
                try:
                    difference = _export(model, kind, draft, call, [call], tolerance, dynamic=False)
                except ExportError:
                    raise
                except Exception as error:
                    raise ExportError(f"the model cannot be exported as {kind.name}: {error}") from error
        os.replace(draft, target)
    return ExportReport(path, kind.name, path.stat().st_size, difference, dynamic)


def check_compiled(
    model: nn.Module,
    inputs: Tensor | tuple[Any, ...] | Mapping[str, Any],
    backend: str = "inductor",
    *,
    tolerance: float = 1e-4,
) -> float:
    """Compile a model in eval mode with ``torch.compile``, and compare its outputs with the model's.

    Args:
        model: any model; unchanged.
        inputs: as for :func:`export_model`.
        backend: of ``torch.compile``; ``"inductor"`` needs a C++ compiler on the CPU.
        tolerance: as for :func:`export_model`.

    Returns:
        The largest absolute difference between outputs.

    Raises:
        ExportError: the model cannot be compiled, or the outputs differ by more.
        TypeError: inputs of another form.
    """
    call = _call(model, inputs)
    with preserve_state(model), torch.no_grad():
        expected = tensors_in(model(*call.args, **call.kwargs))
        try:
            found = tensors_in(torch.compile(model, backend=backend)(*call.args, **call.kwargs))
        except Exception as error:
            raise ExportError(f"the model cannot be compiled with backend {backend!r}: {error}") from error
    return _difference(expected, found, tolerance, f"torch.compile with backend {backend!r}")


def _format(path: Path, name: str | None) -> Format:
    by_suffix = {suffix: kind for kind in FORMATS for suffix in kind.suffixes}
    by_name = {kind.name: kind for kind in FORMATS}
    kind = by_suffix.get(path.suffix.lower()) if name is None else by_name.get(name)
    if kind is None and name is None:
        raise ValueError(f"path must end in {', '.join(by_suffix)} if no format is given, got {path.name!r}")
    if kind is None:
        raise ValueError(f"format must be one of {', '.join(map(repr, by_name))}, got {name!r}")
    require_extra(f"a model cannot be exported as {kind.name}", "export", {name: name for name in kind.packages})
    return kind


def _call(model: nn.Module, inputs: Any) -> Call:
    if not isinstance(inputs, (Tensor, tuple, Mapping)):
        raise TypeError(f"inputs must be a tensor, a tuple or a dict, got {type(inputs).__name__}")
    return next(iter_calls(inputs, model_device(model)))


def _images(call: Call) -> int | None:
    """The number of images in the call; None if its tensors differ in it."""
    counts = {len(tensor) if tensor.dim() else 0 for tensor in tensors_in((call.args, call.kwargs))}
    return counts.pop() if len(counts) == 1 else None


def _resized(call: Call, images: int) -> Call:
    """The call with a given number of images, repeated from the start if there are fewer."""

    def resize(value: Any) -> Any:
        return value[torch.arange(images, device=value.device) % len(value)] if isinstance(value, Tensor) else value

    return Call(tree_map(resize, call.args), None, tree_map(resize, call.kwargs))


def _export(
    model: nn.Module, kind: Format, path: Path, example: Call, tried: list[Call], tolerance: float, *, dynamic: bool
) -> float:
    kind.write(model, example, path, dynamic)
    run: Callable[[Call], list[Tensor]] = kind.load(path)
    return max(
        _difference(tensors_in(model(*call.args, **call.kwargs)), run(call), tolerance, f"the {kind.name} file")
        for call in tried
    )


def _difference(expected: list[Tensor], found: list[Tensor], tolerance: float, what: str) -> float:
    """The largest absolute difference; ExportError if it is above the tolerance."""
    if [tensor.shape for tensor in expected] != [tensor.shape for tensor in found] or not expected:
        shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (found, expected)]
        raise ExportError(f"{what} gives tensors of shapes {shapes[0]}, the model {shapes[1]}")
    differences = torch.cat(
        [(_wide(one) - _wide(other)).abs().flatten() for one, other in zip(expected, found, strict=True)]
    )
    sizes = torch.cat([_wide(tensor).abs().flatten() for tensor in expected])
    greatest = float(sizes.max()) if len(sizes) else 0.0
    difference = float(differences.max()) if len(differences) else 0.0
    # This form of the comparison fails for NaN and Inf.
    if not (difference <= tolerance * max(1.0, greatest) < float("inf")):
        raise ExportError(
            f"{what} gives outputs that differ by {difference:.3g} from the model's, of up to {greatest:.3g}: "
            f"the tolerance is {tolerance:g}"
        )
    return difference


def _wide(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
