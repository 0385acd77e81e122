"""Make the tracer of NNI 3.0, and with it ``ModelSpeedup``, work on current torch and Python.

NNI 3.0 is NNI's last release, and its tracer relies on details of torch and of CPython that have changed
since. :func:`repair_nni` corrects each of them in memory, and only if the fault is present; nothing else
of NNI changes, and :func:`undo_nni_repairs` undoes every repair::

    from foad_plugins.adapters.nni import repair_nni

    repair_nni()
    ModelSpeedup(model, dummy_input, masks).speedup_model()
"""

from __future__ import annotations

import dis
import functools
import importlib
import importlib.util
import inspect
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ...utils.layers import layer_width

__all__ = ["repair_nni", "undo_nni_repairs"]

_Undo = Callable[[], None]

_undo_by_name: dict[str, _Undo] = {}


def repair_nni() -> tuple[str, ...]:
    """Repair NNI's tracer in memory if the installed torch and Python break it.

    A second call changes nothing. NNI is imported by this call, not by the import of this module.

    Returns:
        The names of the repairs in force after the call, out of ``"tensor_methods"``, ``"node_purity"``,
        ``"instruction_positions"``, ``"jump_opcodes"``, ``"type_parameters"``, ``"builtin_generics"``,
        ``"lightning_steps"``, ``"size_leaves"`` and ``"one_output_convolutions"``, in this order.

    Raises:
        ImportError: NNI 3.0 is not installed.
    """
    tracer, proxy = _import_from_nni("concrete_tracer"), _import_from_nni("concrete_proxy")
    repairs: dict[str, Callable[[], _Undo | None]] = {
        "tensor_methods": lambda: _repair_tensor_methods(tracer.ConcreteTracer),
        "node_purity": lambda: _repair_node_purity(tracer),
        "instruction_positions": lambda: _repair_instruction_positions(proxy),
        "jump_opcodes": lambda: _repair_jump_opcodes(proxy.ConcreteProxy),
        "type_parameters": lambda: _repair_type_parameters(tracer),
        "builtin_generics": lambda: _repair_builtin_generics(tracer),
        "lightning_steps": _repair_lightning_steps,
        # These import NNI's pruners, which use the tracer.
        "size_leaves": _repair_size_leaves,
        "one_output_convolutions": _repair_one_output_convolutions,
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


def _import_speedup(module: str) -> types.ModuleType:
    with warnings.catch_warnings():
        # NNI registers nodes of trees by a function that torch deprecates, and types that torch has registered since.
        warnings.simplefilter("ignore")
        return importlib.import_module(f"nni.compression.speedup.{module}")


def _set(owner: Any, attribute: str, value: Any) -> _Undo:
    original = vars(owner)[attribute]
    setattr(owner, attribute, value)
    return lambda: setattr(owner, attribute, original)


def _copy_of_module(original: types.ModuleType, **replaced: Any) -> types.ModuleType:
    copy = types.ModuleType(original.__name__)
    vars(copy).update({**vars(original), **replaced})
    return copy


def _repair_tensor_methods(tracer_class: Any) -> _Undo | None:
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
    return _set(tracer_class, "default_autowrap_leaf_function", repaired)


def _repair_node_purity(tracer_module: Any) -> _Undo | None:
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

    return _set(tracer_module, "node_is_impure_wrapper", is_impure)


def _repair_instruction_positions(proxy_module: Any) -> _Undo | None:
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
    return _set(proxy_module, "dis", copy)


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


def _repair_jump_opcodes(proxy_class: Any) -> _Undo | None:
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
    return _set(proxy_class, "jump_opcodes", (*known, *missing)) if missing else None


def _repair_type_parameters(tracer_module: Any) -> _Undo | None:
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
        return _set(tracer_module, "functools", _copy_of_module(functools, wraps=wraps))
    return None


def _repair_builtin_generics(tracer_module: Any) -> _Undo | None:
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

    return _set(tracer_module, "_create_wrapped_leaf_iterable_class", make_subscriptable)


def _repair_lightning_steps() -> _Undo | None:
    """Let ``LightningEvaluator`` set the number of training steps.

    Broken since PyTorch Lightning 2.0, where ``Trainer.fit_loop.max_steps`` can be read and no longer set. Every pruner
    that trains for a number of steps then ends in ``AttributeError``. The repair sets it on the inner loop, where
    Lightning stores it.

    Fault: PyTorch Lightning is installed, and the property has no setter.
    """
    if importlib.util.find_spec("pytorch_lightning") is None:
        return None
    fit_loop = importlib.import_module("pytorch_lightning.loops.fit_loop")._FitLoop
    steps = vars(fit_loop).get("max_steps")
    if not isinstance(steps, property) or steps.fset is not None:
        return None
    return _set(fit_loop, "max_steps", steps.setter(lambda loop, value: setattr(loop.epoch_loop, "max_steps", value)))


def _repair_size_leaves() -> _Undo | None:
    """Let the speedup keep a ``torch.Size``.

    Broken since torch registers ``torch.Size`` as a node of its trees: mapping a function over one gives a plain tuple,
    which has no ``numel()``, and ``x.size()[1:].numel()`` in a model ends the speedup in ``AttributeError``. The repair
    makes it a leaf in the maps of NNI's speedup.

    Fault: a map over a ``torch.Size`` gives another type.
    """
    utils = _import_speedup("utils")
    size = torch.Size([2, 3])
    if type(utils.tree_map_zip(lambda value: value, size)) is torch.Size:
        return None

    def is_size(value: Any) -> bool:
        return isinstance(value, torch.Size)

    undo_map = _set(utils, "tree_map", functools.partial(utils.tree_map, is_leaf=is_size))
    undo_flatten = _set(utils, "tree_flatten", functools.partial(utils.tree_flatten, is_leaf=is_size))

    def undo() -> None:
        undo_map()
        undo_flatten()

    return undo


def _repair_one_output_convolutions() -> _Undo | None:
    """Let the speedup see that a convolution with one output channel is not depthwise.

    NNI takes a convolution whose number of groups equals that of its outputs as depthwise, whose channels are those of
    the layer before. One group and one output satisfy this too: the layer before is then not pruned, without an error,
    or the speedup ends in an ``AssertionError`` without text. The repair finds no such layer before a convolution with
    one group. NNI also joins a map of one channel with the maps that it multiplies, with the same results; where other
    layers give more channels, the repair leaves out those with one.

    Fault: NNI joins the channels of two ordinary convolutions, of which the second has one output.
    """
    dependency = _import_speedup("dependency")
    # On the meta device no random weights are drawn.
    layers = (torch.nn.Conv2d(wide, narrow, 1, device="meta") for wide, narrow in ((1, 2), (2, 1)))
    network = torch.fx.symbolic_trace(torch.nn.Sequential(*layers))
    if all(len(joined) < 2 for joined in dependency.build_channel_dependency(network, "Filter")):
        return None
    find = dependency.find_adjacent_layers

    def find_adjacent_layers(
        node: torch.fx.Node, module: torch.fx.GraphModule, target_types: list[Any], direction: str = "parent"
    ) -> list[torch.fx.Node]:
        if direction == "parent" and node.op == "call_module":
            layer = module.get_submodule(str(node.target))
            if isinstance(layer, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)) and layer.groups == 1:
                return []
        found: list[torch.fx.Node] = find(node, module, target_types, direction)
        if direction == "parent" and node.op in ("call_function", "call_method"):
            return [one for one in found if layer_width(module.get_submodule(str(one.target)), "output") != 1] or found
        return found

    return _set(dependency, "find_adjacent_layers", find_adjacent_layers)
