"""Make the tracer of NNI 3.0, and with it ``ModelSpeedup``, work on current torch and Python.

NNI 3.0 is NNI's last release, and its tracer relies on details of torch and of CPython that have changed
since. :func:`repair_nni` corrects each of them in memory, and only if the fault is present; nothing else
of NNI changes, and :func:`undo_nni_repairs` undoes every repair::

    from foad_plugins.adapters.nni import repair_nni

    repair_nni()
    ModelSpeedup(model, dummy_input, masks).speedup_model()
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable

from . import repairs_of_speedup as speedup
from . import repairs_of_tracer as tracing
from .replace import Undo

__all__ = ["repair_nni", "undo_nni_repairs"]

_undo_by_name: dict[str, Undo] = {}


def repair_nni() -> tuple[str, ...]:
    """Repair NNI's tracer in memory if the installed torch and Python break it.

    A second call changes nothing. NNI is imported by this call, not by the import of this module.

    Returns:
        The names of the repairs in force after the call, out of ``"tensor_methods"``, ``"node_purity"``,
        ``"instruction_positions"``, ``"jump_opcodes"``, ``"type_parameters"``, ``"builtin_generics"``,
        ``"lightning_steps"``, ``"size_leaves"``, ``"one_output_convolutions"`` and ``"fused_batch_norms"``, in this
        order.

    Raises:
        ImportError: NNI 3.0 is not installed.
    """
    tracer, proxy = _import_from_nni("concrete_tracer"), _import_from_nni("concrete_proxy")
    repairs: dict[str, Callable[[], Undo | None]] = {
        "tensor_methods": lambda: tracing.repair_tensor_methods(tracer.ConcreteTracer),
        "node_purity": lambda: tracing.repair_node_purity(tracer),
        "instruction_positions": lambda: tracing.repair_instruction_positions(proxy),
        "jump_opcodes": lambda: tracing.repair_jump_opcodes(proxy.ConcreteProxy),
        "type_parameters": lambda: tracing.repair_type_parameters(tracer),
        "builtin_generics": lambda: tracing.repair_builtin_generics(tracer),
        "lightning_steps": speedup.repair_lightning_steps,
        # These import NNI's pruners, which use the tracer.
        "size_leaves": speedup.repair_size_leaves,
        "one_output_convolutions": speedup.repair_one_output_convolutions,
        "fused_batch_norms": speedup.repair_fused_batch_norms,
    }
    for name, repair in repairs.items():
        if name not in _undo_by_name and (undo := repair()) is not None:
            _undo_by_name[name] = undo
    return tuple(name for name in repairs if name in _undo_by_name)


def undo_nni_repairs() -> None:
    """Undo every repair that :func:`repair_nni` made; NNI's tracer is then as imported."""
    while _undo_by_name:
        _, undo = _undo_by_name.popitem()
        undo()


def _import_from_nni(module: str) -> types.ModuleType:
    try:
        return importlib.import_module(f"nni.common.concrete_trace_utils.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "nni":
            raise
        raise ImportError(
            'NNI 3.0 is needed and is not installed: pip install "foad-plugins[nni]"', name=error.name
        ) from error
