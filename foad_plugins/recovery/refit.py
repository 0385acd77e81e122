"""Refit: the layers of a pruned network solved one after another, so that each gives what the original gives there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..calibration.data import CalibrationData, Call, ForwardFn, check_data, model_device
from ..calibration.preflight import check_forward
from ..calibration.preserve import check_model, preserve_state
from ..utils.rollback import Changes, undone_on_error
from .refitting.batches import as_passes, first_of, image_count
from .refitting.fitting import LayerProblem
from .refitting.kept import check_kept
from .refitting.layer_fit import LayerFit
from .refitting.lockstep import in_lockstep
from .refitting.memory import check_memory
from .refitting.plan import RefitPlan, kept_by_values, plan_refit
from .refitting.report import RefitReport
from .refitting.trace import RunCall, Trace, trace_run

__all__ = ["ROWS", "refit"]

ROWS = 40
"""Rows for each weight of an output channel: more take longer and gain little."""

# Images of each call that show what the networks run.
_TRACED = 2
_FEW_IMAGES = 4
# A layer with a smaller error than this, over the variance of its output, is as the original's but for rounding.
_EXACT = 1e-6
_FIRST_STRENGTH = 1e-3


# Parameters made in inference mode could not be trained any more.
@torch.inference_mode(False)
def refit(
    pruned: nn.Module,
    original: nn.Module,
    data: Any,
    *,
    kept: Mapping[str, Sequence[int]] | None = None,
    ignored_layers: Sequence[str] = (),
    rows: int | None = ROWS,
    max_batches: int | None = None,
    max_memory: float | None = None,
    forward_fn: ForwardFn | None = None,
    seed: int = 0,
    progress: bool = False,
) -> RefitReport:
    """Solve the layers of a pruned network one after another by least squares, without labels and gradients.

    Both networks run side by side over the data. At each convolution and linear layer, new weights and a new bias are
    found with which its output, on the pruned network's own input, comes nearest to what the original gives there at
    the channels that were kept; the pruned network goes on with them, so that each layer corrects the errors of those
    before it. A layer whose output enters a residual sum is fitted to the original's sum. The constant is added to the
    bias, or to the running mean of the batch normalization that follows. A layer that gets no better on a quarter of
    the batches, which is left out at first, is unchanged. He et al. (ICCV 2017) solve layers on the pruned network's
    input as well, with one factor for each channel.

    The feature maps of all images are in memory at the same time. The time is that of one run of each network and of
    the products between inputs; see ``rows``.

    Args:
        pruned: the network to be refitted, in place. Any tool may have pruned it.
        original: the network that it was, on the same device; unchanged. It must share no parameters with ``pruned``.
        data: calibration data as for :class:`~foad_plugins.FOADImportance`; 256 to 512 images are enough. Read once.
        kept: for layers, by name, the original's output channels that ``pruned`` still has, in its order. By default
            they are found by equal weights and values of batch normalization, or by similar maps.
        ignored_layers: names of layers that are left alone, such as those of a detector that see the regions it has
            found; the name of a container means all layers in it.
        rows: positions that are drawn for each weight of an output channel, at least 1; None takes all.
        max_batches: use so many batches of ``data`` at most; None uses all.
        max_memory: bytes that feature maps may take, at most; None takes what is free.
        forward_fn: called as ``forward_fn(model, batch)``, for models that take their inputs in another way.
        seed: of the positions that are drawn.
        progress: show a progress bar over layers.

    Returns:
        The error of each layer before and after, and the layers that were left alone; print it.

    Raises:
        TypeError: an argument of another form.
        ValueError: no data, or data that a network does not run on; networks that do not belong together, share
            parameters, or whose output is random; kept channels that cannot be told (names the layer); NaN or Inf;
            more images than memory holds. Whatever is raised, ``pruned`` is unchanged.
    """
    began = time.perf_counter()
    _check_networks(pruned, original)
    _check_count("rows", rows)
    check_data(data)
    given = check_kept(kept, pruned, original)
    ignored = _layers_in(pruned, ignored_layers)
    run_call = _run_call(forward_fn)
    with undone_on_error() as changes:
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(preserve_state(original))
            stack.enter_context(preserve_state(pruned))
            source = CalibrationData(data, max_batches, forward_fn).for_model(original)
            calls = list(source.calls(model_device(original)))
            for model in (original, pruned):
                check_forward(model, first_of(calls[0], 0, _TRACED), forward_fn)
            if forward_fn is None:
                calls = [replace(call, batch=None) for call in calls]
            # What depends on the data is found while the layers are solved, too.
            traced = [first_of(calls[place], 0, _TRACED) for place in dict.fromkeys((0, len(calls) - 1))]
            plan = _plan(pruned, original, traced, run_call, ignored)
            calls = as_passes(calls)
            check_memory((original, pruned), calls, run_call, max_memory)
            known = kept_by_values(plan, given)
            layers = _solve(plan, (original, pruned), calls, run_call, known, rows, seed, changes, progress)
            values = changes.values()
        # The running statistics were put back when the models were left.
        for tensor, value in values:
            changes.write(tensor, value)
    counts = [image_count(call) for call in calls]
    images = None if None in counts else sum(count for count in counts if count is not None)
    return RefitReport(
        layers=tuple(layers),
        left_alone=plan.left_alone,
        images=images,
        seconds=time.perf_counter() - began,
        notes=_notes(layers, calls),
    )


def _solve(
    plan: RefitPlan,
    models: tuple[nn.Module, nn.Module],
    calls: Sequence[Call],
    run_call: RunCall,
    kept: Mapping[str, Tensor | None],
    rows: int | None,
    seed: int,
    changes: Changes,
    progress: bool,
) -> list[LayerFit]:
    generator = torch.Generator().manual_seed(seed)
    layers: dict[str, LayerFit] = {}
    first = _FIRST_STRENGTH
    sides = [(models[0], plan.original, False), (models[1], plan.pruned, True)]
    with in_lockstep(sides, calls, run_call, plan.order) as stops:
        for name, together in tqdm(stops, desc="refitting", unit="layer", total=len(plan.order), disable=not progress):
            if together is None or name in layers or name in plan.left_alone:
                plan.left_alone.setdefault(name, "it does not run once, in the same order, on all inputs")
                continue
            problem = LayerProblem(name, plan.original[name], plan.pruned[name], kept[name])
            pairs = [(old, new) for old, new in together]
            if not problem.belong_together(pairs):
                plan.left_alone[name] = "its inputs have other sizes in the two networks"
                continue
            fit, left_out = problem.sums(pairs, rows, generator)
            if not fit.rows or not left_out.rows:
                plan.left_alone[name] = "there are too few rows to leave some out"
                continue
            found = problem.solve(fit, left_out, first)
            first = found.strength
            better = found.before > _EXACT * found.scale and found.after < found.before
            if better:
                problem.write(found, changes.write)
            layers[name] = LayerFit(
                name,
                error_before=_share(found.before, found.scale),
                error_after=_share(found.after if better else found.before, found.scale),
                strength=found.strength,
                rows=fit.rows + left_out.rows,
                unknowns=problem.matrix.unknowns,
                at_sum=plan.pruned[name].at_sum,
                changed=better,
            )
    return list(layers.values())


def _plan(
    pruned: nn.Module, original: nn.Module, calls: Sequence[Call], run_call: RunCall, ignored: frozenset[str]
) -> RefitPlan:
    old = [trace_run(original, call, run_call) for call in calls]
    torch.manual_seed(1)
    again = trace_run(original, calls[0], run_call)
    if not _equal(old[0], again):
        raise ValueError(
            "the original gives another output each time it runs in eval mode (functional dropout without "
            "training=self.training?): a layer can only be fitted to a fixed one"
        )
    new = [trace_run(pruned, call, run_call) for call in calls]
    for before, after in zip(old, new, strict=True):
        # Detectors give as many boxes as they find.
        shapes = [[tuple(tensor.shape[1:]) for tensor in trace.outputs] for trace in (before, after)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"for each image, pruned gives outputs of shapes {shapes[1]} and original of {shapes[0]}: pruned must "
                "be a pruned copy of original"
            )
    return plan_refit(pruned, original, new, old, ignored)


def _equal(first: Trace, second: Trace) -> bool:
    return len(first.outputs) == len(second.outputs) and all(
        a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-3, atol=1e-5, equal_nan=True)
        for a, b in zip(first.outputs, second.outputs, strict=True)
    )


def _run_call(forward_fn: ForwardFn | None) -> RunCall:
    def run(model: nn.Module, call: Call) -> Any:
        return call.run(model, forward_fn)

    return run


def _check_networks(pruned: nn.Module, original: nn.Module) -> None:
    check_model(pruned)
    check_model(original)
    if pruned is original:
        raise ValueError("pruned and original are one object: copy the model (copy.deepcopy) before it is pruned")
    shared = {id(parameter): name for name, parameter in original.named_parameters()}
    for name, parameter in pruned.named_parameters():
        if id(parameter) in shared:
            raise ValueError(
                f"pruned and original share the parameter {name!r}: copy the model (copy.deepcopy) before it is pruned"
            )
    devices = {tensor.device for model in (pruned, original) for tensor in model.parameters()}
    if len(devices) > 1:
        raise ValueError(f"pruned and original must be on one device, got {', '.join(sorted(map(str, devices)))}")


def _layers_in(model: nn.Module, names: Sequence[str]) -> frozenset[str]:
    """Names of the modules with these names, and of all modules in them.

    Raises:
        TypeError: a single string, or something else than strings.
        ValueError: the model has no module of a name.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"ignored_layers must be a sequence of names, got {names!r}")
    modules = dict(model.named_modules())
    for name in names:
        if name not in modules:
            raise ValueError(f"ignored_layers: the model has no layer {name!r}")
    return frozenset(one for one in modules if any(one == name or one.startswith(f"{name}.") for name in names))


def _check_count(name: str, value: int | None) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(f"{name} must be an integer of at least 1 or None, got {value!r}")


def _share(error: float, scale: float) -> float:
    return max(error, 0.0) / scale if scale > 0 else 0.0


def _notes(layers: Sequence[LayerFit], calls: Sequence[Call]) -> tuple[str, ...]:
    notes = []
    scarce = [layer.name for layer in layers if layer.rows < layer.unknowns]
    if scarce:
        names = ", ".join(scarce[:3]) + (f" and {len(scarce) - 3} more" if len(scarce) > 3 else "")
        notes.append(f"fewer positions than weights of an output channel, more images would help: {names}")
    if len(calls) < _FEW_IMAGES:
        notes.append("few images: the strength of the penalty was chosen on positions of the images fitted to")
    return tuple(notes)
