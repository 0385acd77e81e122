"""Several forward passes side by side, each stopping where a layer is to be solved.

Every pass is a thread, of which one runs at a time: no graph of the network is needed, and any forward will do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...calibration.data import Call
from ...utils.layers import first_input
from .sums import TensorOperations
from .trace import RunCall

__all__ = ["Pass", "Solvable", "Stop", "in_lockstep"]


class Solvable(NamedTuple):
    """A layer at which passes stop.

    Attributes:
        layer: the layer.
        norm: the batch normalization that alone uses its output; None if there is none.
        at_sum: whether the passes stop where its output, or its normalization's, enters a sum.
    """

    layer: nn.Module
    norm: nn.Module | None
    at_sum: bool


class Stop(NamedTuple):
    """Where a pass has stopped.

    Attributes:
        name: of the layer.
        x: the layer's input; None in a pass that only observes and is not at a sum.
        output: the layer's output, or its normalization's at a sum; None before the layer has run.
        other: the other operand of the sum; None elsewhere.
    """

    name: str
    x: Tensor | None = None
    output: Tensor | None = None
    other: Tensor | None = None


class _Ended(BaseException):
    """Ends a pass from inside, also through models that catch every Exception."""


class Pass(threading.Thread):
    """One forward pass that stops at layers.

    Args:
        model: with hooks of :func:`in_lockstep`.
        call: how to call it.
        run_call: runs the model on the call.
        layers: at which it stops.
        writes: True for the network whose layers are solved: it stops before a layer, and after a stop at a sum it
            runs the layer again; otherwise it stops after the layer.

    Attributes:
        at: where it has stopped; None when it is over.
    """

    def __init__(
        self, model: nn.Module, call: Call, run_call: RunCall, layers: Mapping[str, Solvable], *, writes: bool
    ) -> None:
        super().__init__(name="foad-refit", daemon=True)
        self.at: Stop | None = None
        self._model, self._call, self._run_call, self._layers, self._writes = model, call, run_call, layers, writes
        self._settings = _thread_settings(call)
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._ended = False
        self._inputs: dict[str, Tensor] = {}
        # Outputs on their way to a sum, by id; held, so that no other tensor gets the same one.
        self._made: dict[int, tuple[str, Tensor]] = {}
        self._again = False

    def step(self) -> Stop | None:
        """Run to the next stop.

        Raises:
            Exception: what the model raised.
        """
        self._go.release()
        self._stopped.acquire()
        if self._error is not None:
            raise self._error
        return self.at

    def end(self) -> None:
        """End the pass wherever it is, and wait until its thread is over."""
        self._ended = True
        self._go.release()
        self.join()

    def run(self) -> None:
        """The thread."""
        self._go.acquire()
        try:
            if not self._ended:
                with ExitStack() as stack:
                    self._settings(stack)
                    stack.enter_context(TensorOperations(self._on_sum))
                    self._run_call(self._model, self._call)
        except _Ended:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self.at = None
            self._inputs.clear()
            self._made.clear()
            self._stopped.release()

    def before_layer(self, name: str, x: Tensor) -> None:
        """A layer is about to run."""
        if self._again:
            return
        if self._layers[name].at_sum:
            self._inputs[name] = x
        elif self._writes:
            self._pause(Stop(name, x))

    def after_layer(self, name: str, output: Tensor) -> None:
        """A layer, or the normalization of one at a sum, has run."""
        if self._again:
            return
        if self._layers[name].at_sum:
            self._made = {key: made for key, made in self._made.items() if made[0] != name}
            self._made[id(output)] = name, output
        elif not self._writes:
            self._pause(Stop(name, output=output))

    def _on_sum(self, first: Tensor, second: Tensor, in_place: bool) -> None:
        for mine, other in ((first, second), (second, first)):
            name, _ = self._made.pop(id(mine), ("", None))
            if name:
                x = self._inputs.pop(name)
                self._pause(Stop(name, x, mine, other))
                if self._writes:
                    mine.copy_(self._run_again(self._layers[name], x))
                return

    def _run_again(self, solvable: Solvable, x: Tensor) -> Tensor:
        self._again = True
        try:
            output: Tensor = solvable.layer(x)
            return output if solvable.norm is None else solvable.norm(output)
        finally:
            self._again = False

    def _pause(self, stop: Stop) -> None:
        if self._ended:
            raise _Ended
        self.at = stop
        self._stopped.release()
        self._go.acquire()
        self.at = None
        if self._ended:
            raise _Ended


@contextmanager
def in_lockstep(
    sides: Sequence[tuple[nn.Module, Mapping[str, Solvable], bool]],
    calls: Sequence[Call],
    run_call: RunCall,
    order: Sequence[str],
) -> Iterator[Iterator[tuple[str, list[list[Stop]] | None]]]:
    """Run several networks over all calls side by side.

    Args:
        sides: networks with the layers at which each of them stops, and whether these are solved.
        calls: each is one pass of each network.
        run_call: runs a network on a call.
        order: names of the layers in the order in which they are expected.

    Yields:
        An iterator over the layers: a name, and for each call the stops of all networks; None instead of them for a
        layer at which not all passes stop at the same time. All passes are ended when the context is left.
    """
    with ExitStack() as stack:
        for model, layers, _ in sides:
            for name, solvable in layers.items():
                for hook in _hooks(model, name, solvable):
                    stack.callback(hook)
        passes = [
            [Pass(model, call, run_call, layers, writes=writes) for model, layers, writes in sides] for call in calls
        ]
        for one in [one for row in passes for one in row]:
            one.start()
            stack.callback(one.end)
        yield _stops(passes, {name: place for place, name in enumerate(order)})


def _stops(passes: Sequence[Sequence[Pass]], place: Mapping[str, int]) -> Iterator[tuple[str, list[list[Stop]] | None]]:
    everyone = [one for row in passes for one in row]
    moving = everyone
    while True:
        for one in moving:
            one.step()
        stops = [(one, one.at) for one in everyone if one.at is not None]
        if not stops:
            return
        name = min((stop.name for _, stop in stops), key=place.__getitem__)
        moving = [one for one, stop in stops if stop.name == name]
        together = len(moving) == len(everyone)
        yield name, [[one.at for one in row if one.at is not None] for row in passes] if together else None


def _hooks(model: nn.Module, name: str, solvable: Solvable) -> Iterator[Callable[[], None]]:
    """Register the hooks of a layer; gives what removes them."""

    def current() -> Pass | None:
        thread = threading.current_thread()
        return thread if isinstance(thread, Pass) and thread._model is model else None

    def before(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        one = current()
        if one is not None:
            one.before_layer(name, first_input(args, kwargs))

    def after(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        one = current()
        if one is not None:
            one.after_layer(name, output)

    yield solvable.layer.register_forward_pre_hook(before, with_kwargs=True).remove
    yield solvable.layer.register_forward_hook(after).remove
    if solvable.at_sum and solvable.norm is not None:
        yield solvable.norm.register_forward_hook(after).remove


def _thread_settings(call: Call) -> Callable[[ExitStack], None]:
    """What torch keeps for each thread, taken from the current one."""
    tensors = [value for value in (*call.args, *call.kwargs.values()) if isinstance(value, Tensor)]
    devices = {tensor.device for tensor in tensors}
    autocasts = [
        (kind, torch.get_autocast_dtype(kind))
        for kind in {"cpu", *(device.type for device in devices)}
        if torch.is_autocast_enabled(kind)
    ]
    cuda = next((device for device in devices if device.type == "cuda"), None)
    stream = torch.cuda.current_stream(cuda) if cuda is not None else None

    def settings(stack: ExitStack) -> None:
        stack.enter_context(torch.no_grad())
        for kind, dtype in autocasts:
            stack.enter_context(torch.autocast(kind, dtype=dtype))
        if stream is not None:
            stack.enter_context(torch.cuda.device(cuda))
            stack.enter_context(torch.cuda.stream(stream))

    return settings
