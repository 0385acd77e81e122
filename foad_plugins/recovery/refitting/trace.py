"""What a network runs, and in which order: its layers, the batch norm after each, and the sums that they end in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...calibration.collect import require_batch_dim
from ...calibration.data import Call
from ...utils.layers import first_input
from ...utils.outputs import output_tensors
from .norms import is_channel_affine
from .patches import LayerMatrix, is_linear_map
from .sums import TensorOperations

__all__ = ["RunCall", "Trace", "trace_run"]

RunCall = Callable[[nn.Module, Call], Any]

# Rows at which a layer's output is compared with what its weights make of its input.
_CHECKED_ROWS = 32


@dataclass(frozen=True)
class Trace:
    """What one run of a network showed.

    Attributes:
        events: ``("layer", name)`` where a layer ran, ``("sum", name)`` where its output entered a sum, in order.
        norms: for layers whose output is used by nothing but a batch normalization: its name.
        sums: layers that ran once, whose output, or whose normalization's output, is used by nothing but an addition.
        runs: how often each layer ran.
        unlike: layers whose output is not what their weights make of their input.
        outputs: the tensors that the network returned.
    """

    events: tuple[tuple[str, str], ...]
    norms: dict[str, str]
    sums: frozenset[str]
    runs: Counter[str]
    unlike: frozenset[str]
    outputs: tuple[Tensor, ...]


def trace_run(model: nn.Module, call: Call, run_call: RunCall) -> Trace:
    """Run a network once and record what it runs.

    Args:
        model: in eval mode.
        call: a small one; the tensors of the run are held until it ends.
        run_call: runs the model on the call.
    """
    recorder = _Recorder()
    with ExitStack() as stack:
        stack.enter_context(require_batch_dim(model))
        for name, module in model.named_modules():
            hook = None
            if is_linear_map(module):
                hook = recorder.on_layer(name)
            elif is_channel_affine(module):
                hook = recorder.on_norm(name)
            if hook is not None:
                stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        with torch.no_grad(), TensorOperations(recorder.on_sum, recorder.on_use):
            returned = run_call(model, call)
    return recorder.finish(tuple(output_tensors(returned)))


@dataclass(eq=False)
class _Made:
    """The output of a layer, or of the batch normalization after it. Held, so that no other tensor gets its id."""

    tensor: Tensor
    layer: str
    version: int
    uses: int = 0


@dataclass(eq=False)
class _Layer:
    """A layer that ran. ``at_sum`` tells whether its output entered a sum while its input was still unchanged."""

    x: Tensor
    version: int
    made: _Made
    norm: str | None = None
    normed: _Made | None = None
    at_sum: bool = False


class _Recorder:
    """Listens to the layers and operations of one run."""

    def __init__(self) -> None:
        self._runs: Counter[str] = Counter()
        self._unlike: set[str] = set()
        self._layers: dict[str, _Layer] = {}
        self._made: dict[int, _Made] = {}
        self._events: list[tuple[str, str]] = []
        self._own = False

    def on_layer(self, name: str) -> Callable[..., None]:
        """The forward hook of a layer."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            x = first_input(args, kwargs)
            self._runs[name] += 1
            with self._own_operations():
                if not isinstance(x, Tensor) or not isinstance(output, Tensor) or _unlike(module, x, output):
                    self._unlike.add(name)
                    return
            made = self._made[id(output)] = _Made(output, name, output._version)
            self._layers[name] = _Layer(x, x._version, made)
            self._events.append(("layer", name))

        return hook

    def on_norm(self, name: str) -> Callable[..., None]:
        """The forward hook of a batch normalization."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            x = first_input(args, kwargs)
            self._runs[name] += 1
            made = self._made.get(id(x))
            if made is None or not isinstance(output, Tensor) or output is x:
                return
            layer = self._layers[made.layer]
            if layer.made is made and layer.norm is None:
                layer.norm = name
                layer.normed = self._made[id(output)] = _Made(output, made.layer, output._version)

        return hook

    def on_sum(self, first: Tensor, second: Tensor, in_place: bool) -> None:
        """An addition is about to be done."""
        if self._own:
            return
        found = [made for made in (self._made.get(id(first)), self._made.get(id(second))) if made is not None]
        for made in found:
            made.uses += 1
        if found:
            # Of two layers the one that ran last can correct the error of the other.
            last = max(found, key=lambda made: self._events.index(("layer", made.layer)))
            layer = self._layers[last.layer]
            layer.at_sum = layer.x._version == layer.version
            self._events.append(("sum", last.layer))
        if in_place:
            self._made.pop(id(first), None)

    def on_use(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Another operation was done."""
        if self._own:
            return
        for tensor in _tensors((args, kwargs.values())):
            made = self._made.get(id(tensor))
            # Dropout in eval mode gives its input back, which is no use; an operation in place does so too.
            if made is not None and (tensor is not result or tensor._version != made.version):
                made.uses += 1

    def finish(self, outputs: tuple[Tensor, ...]) -> Trace:
        """What the run showed."""
        self.on_use(outputs, {}, None)
        norms = {
            name: layer.norm
            for name, layer in self._layers.items()
            if layer.norm is not None and layer.made.uses == 1 and self._runs[layer.norm] == 1
        }
        sums = set()
        for name, layer in self._layers.items():
            last = layer.normed if name in norms else layer.made
            if layer.at_sum and last is not None and last.uses == 1 and self._runs[name] == 1:
                sums.add(name)
        return Trace(tuple(self._events), norms, frozenset(sums), self._runs, frozenset(self._unlike), outputs)

    @contextmanager
    def _own_operations(self) -> Iterator[None]:
        self._own = True
        try:
            yield
        finally:
            self._own = False


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list, type({}.values()))):
            yield from _tensors(value)


def _unlike(module: nn.Module, x: Tensor, output: Tensor) -> bool:
    """Whether a layer's output is not what its weights make of its input, which hooks on the layer can cause."""
    layer = LayerMatrix(module)
    rows = layer.count(output)
    chosen = torch.linspace(0, rows - 1, min(rows, _CHECKED_ROWS), device=output.device).long()
    try:
        expected = layer.input_rows(x, tuple(output.shape), chosen).double() @ layer.weight()
        made = layer.output_rows(output, chosen).double()
    except (RuntimeError, IndexError):
        return True
    expected = expected.transpose(0, 1).flatten(1)
    if layer.layer.bias is not None:
        expected = expected + layer.layer.bias.double()
    tolerance = 1e-3 if output.dtype in (torch.float32, torch.float64) else 3e-2
    if made.shape != expected.shape:
        return True
    # NaN is found later, with a better message.
    return bool((made - expected).abs().max() > tolerance * made.abs().max().clamp_min(1e-6))
