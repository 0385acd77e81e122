"""What NNI 3.0's tracer needs on current torch and Python; each repair returns None where its fault is absent."""

from __future__ import annotations

import dis
import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any

import torch

from .replace import Undo, replace_attribute

__all__ = [
    "repair_builtin_generics",
    "repair_instruction_positions",
    "repair_jump_opcodes",
    "repair_node_purity",
    "repair_tensor_methods",
    "repair_type_parameters",
]


def _copy_of_module(original: types.ModuleType, **replaced: Any) -> types.ModuleType:
    copy = types.ModuleType(original.__name__)
    vars(copy).update({**vars(original), **replaced})
    return copy


def repair_tensor_methods(tracer_class: Any) -> Undo | None:
    """Let the tracer wrap the methods of ``torch.Tensor`` again.

    Broken since torch 2.2, which names the C base class of tensors ``TensorBase`` instead of ``_TensorBase``.
    The tracer knows the class by the old qualified name. Its static methods, which have no ``__module__``,
    then end every trace in ``AttributeError: 'NoneType' object has no attribute 'startswith'``, and its
    instance methods are wrapped but put nowhere. The repair takes the static methods (constructors, which are
    never called with a traced value) out of the tracer's table, tells each instance method its place on
    ``torch.Tensor``, and wraps the override instead where ``torch.Tensor`` has one in Python (``norm``,
    ``split``, ``stft`` and others), as NNI did under the old name.

    Fault: the table has a function with the new qualified name that is static or has no place on
    ``torch.Tensor``.
    """
    table: dict[Any, tuple[Any, bool, Any]] = tracer_class.default_autowrap_leaf_function
    repaired: dict[Any, tuple[Any, bool, Any]] = {}
    for function, (positions, is_forced, override) in table.items():
        place = (torch.Tensor, getattr(function, "__name__", ""))
        if not getattr(function, "__qualname__", "").startswith("TensorBase.") or place in positions:
            repaired[function] = (positions, is_forced, override)
        elif override is not None:
            repaired[override] = (positions, is_forced, override)
        elif not isinstance(function, types.BuiltinMethodType):
            repaired[function] = ([*positions, place], is_forced, override)
    if repaired == table:
        return None
    return replace_attribute(tracer_class, "default_autowrap_leaf_function", repaired)


def repair_node_purity(tracer_module: Any) -> Undo | None:
    """Let the tracer's stand-in for ``torch.fx.Node.is_impure`` take the arguments that torch gives it.

    Broken since torch 2.8, where ``is_impure`` has a parameter ``impure_random`` and the elimination of dead
    code passes it: the stand-in, made for none, raises ``TypeError``. NNI's answer is kept.

    Fault: ``Node.is_impure`` has more parameters than the stand-in.
    """
    stand_in = tracer_module.node_is_impure_wrapper
    # The stand-in is decorated to look like the original; its own parameters are the ones that count.
    accepted = inspect.signature(stand_in, follow_wrapped=False).parameters
    if len(accepted) >= len(inspect.signature(torch.fx.Node.is_impure).parameters):
        return None

    def is_impure(node: torch.fx.Node, *_args: Any, **_kwargs: Any) -> bool:
        return bool(stand_in(node))

    return replace_attribute(tracer_module, "node_is_impure_wrapper", is_impure)


def repair_instruction_positions(proxy_module: Any) -> Undo | None:
    """Let a proxy find the instruction that uses it.

    Broken since Python 3.11. To tell ``if x`` or ``f(*x)`` from a call that has to be traced, a proxy looks
    up its caller's instruction as ``instructions[f_lasti // 2]``: one list entry for each code unit. From
    3.11 on, code has inline cache units, which :func:`dis.get_instructions` leaves out, and the look-up hits
    a later instruction. The repair gives NNI's proxy module a copy of :mod:`dis` with one entry for each
    unit; :mod:`dis` itself is unchanged.

    Fault: for a function with a comparison, the proxy module's ``dis`` yields fewer entries than there are
    units.
    """
    code = _comparison.__code__
    if len(list(proxy_module.dis.get_instructions(code))) == len(code.co_code) // 2:
        return None
    copy = _copy_of_module(proxy_module.dis, get_instructions=_instruction_of_each_unit)
    return replace_attribute(proxy_module, "dis", copy)


def _comparison(left: int, right: int) -> bool:
    return left < right


def _instruction_of_each_unit(code: types.CodeType) -> Iterator[dis.Instruction]:
    """Yield, for each two-byte unit of ``code``, the instruction that NNI should see there.

    NNI reads the current entry and the next one (the jump after a comparison). So an inline cache unit
    counts as the instruction that follows, and an ``EXTENDED_ARG`` as the instruction that it extends. The
    cache units of a call count as the call: while Python code that it called runs, ``f_lasti`` may point at
    the last of them.
    """
    instructions = [i for i in dis.get_instructions(code) if i.opname != "CACHE"]
    units: list[dis.Instruction] = []
    end, following = len(code.co_code), instructions[-1]
    for instruction in reversed(instructions):
        in_cache = instruction if "CALL" in instruction.opname else following
        units.extend([in_cache] * ((end - instruction.offset) // 2 - 1))
        if instruction.opname != "EXTENDED_ARG":
            following = instruction
        units.append(following)
        end = instruction.offset
    return reversed(units)


def repair_jump_opcodes(proxy_class: Any) -> Undo | None:
    """Let a proxy see that its truth value decides a jump.

    Broken since Python 3.11. A proxy used as a condition has to answer with a plain bool, and knows this use
    by the opcode of the jump, from a list of names that ends with Python 3.10. Python 3.11 has
    ``POP_JUMP_FORWARD_IF_*`` and ``POP_JUMP_BACKWARD_IF_*``; 3.12 has ``POP_JUMP_IF_*`` again; since 3.13,
    ``TO_BOOL`` takes the truth value before the jump. (Jumps on None ask for no truth value.)

    Fault: this Python has such an opcode that the proxy class does not list.
    """
    known = proxy_class.jump_opcodes
    missing = [
        opcode
        for name, opcode in dis.opmap.items()
        if opcode not in known
        and (name == "TO_BOOL" or ("JUMP" in name and "IF_" in name and "NONE" not in name))
        and not name.startswith("INSTRUMENTED")
    ]
    return replace_attribute(proxy_class, "jump_opcodes", (*known, *missing)) if missing else None


def repair_type_parameters(tracer_module: Any) -> Undo | None:
    """Let the tracer decorate its stand-in for the builtin ``type``.

    Broken in Python 3.12.0 to 3.12.3, where ``type.__type_params__`` is not a tuple but a descriptor
    (gh-119011), so that ``functools.wraps(type)`` ends every trace in ``TypeError: __type_params__ must be
    set to a tuple``. The repair gives NNI's tracer module a copy of :mod:`functools` whose ``wraps`` leaves
    that attribute out.

    Fault: the tracer module's ``functools.wraps(type)`` raises that error.
    """

    def stand_in(instance: object) -> object:
        return type(instance)

    try:
        tracer_module.functools.wraps(type)(stand_in)
    except TypeError:
        assigned = [name for name in functools.WRAPPER_ASSIGNMENTS if name != "__type_params__"]
        wraps = functools.partial(functools.wraps, assigned=assigned)
        return replace_attribute(tracer_module, "functools", _copy_of_module(functools, wraps=wraps))
    return None


def repair_builtin_generics(tracer_module: Any) -> Undo | None:
    """Let code under trace write ``list[int]``.

    While the tracer runs, ``list``, ``tuple``, ``dict`` and ``set`` are stand-ins that can be called and compared but
    not subscripted. torch's own functions subscript them since its annotations went from ``List[int]`` to ``list[int]``
    (seen in torch 2.15): ``torch.nn.functional.max_pool2d`` without a stride ends every trace in ``TypeError:
    'clz_wrapper_clz' object is not subscriptable``. The repair lets a subscript through to the builtin itself.

    Fault: the stand-in for ``list`` cannot be subscripted.
    """
    make = tracer_module._create_wrapped_leaf_iterable_class
    if hasattr(type(make(None, list)), "__getitem__"):
        return None

    def make_subscriptable(tracer: Any, builtin: Any) -> Any:
        stand_in = make(tracer, builtin)
        type(stand_in).__getitem__ = lambda _, item: builtin[item]
        return stand_in

    return replace_attribute(tracer_module, "_create_wrapped_leaf_iterable_class", make_subscriptable)
