from __future__ import annotations

import dis
import functools
import importlib
import importlib.util
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from foad_plugins.adapters.nni import repairs_of_tracer
from foad_plugins.adapters.nni.compat import repair_nni, undo_nni_repairs

# NNI 3.0 pins a release of typeguard that imports what Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings(r"ignore:ast\.\w+ is deprecated:DeprecationWarning")

TRACE_UTILS = "nni.common.concrete_trace_utils"
TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])
NEEDED = tuple(
    name
    for name, is_needed in {
        "tensor_methods": TORCH >= (2, 2),
        "node_purity": TORCH >= (2, 8),
        "instruction_positions": sys.version_info >= (3, 11),
        "jump_opcodes": sys.version_info[:2] == (3, 11) or sys.version_info >= (3, 13),
        "type_parameters": (3, 12) <= sys.version_info < (3, 12, 4),
        "builtin_generics": True,
        "lightning_steps": importlib.util.find_spec("pytorch_lightning") is not None,
        "size_leaves": type(tree_map(lambda value: value, torch.Size([1]))) is not torch.Size,
        "one_output_convolutions": True,
        "fused_batch_norms": True,
    }.items()
    if is_needed
)


@pytest.fixture
def tracer() -> Iterator[types.ModuleType]:
    """NNI's tracer module as NNI ships it; repaired again afterwards, as other tests may expect it."""
    module = importlib.import_module(f"{TRACE_UTILS}.concrete_tracer")
    undo_nni_repairs()
    yield module
    undo_nni_repairs()
    repair_nni()


@pytest.fixture
def proxy(tracer: types.ModuleType) -> types.ModuleType:
    return importlib.import_module(f"{TRACE_UTILS}.concrete_proxy")


def trace(tracer: types.ModuleType, model: nn.Module, *inputs: Any) -> torch.fx.GraphModule:
    return tracer.concrete_trace(model, inputs)


class Branches(nn.Module):
    """Conditions on traced values, of every kind that compiles to its own jump."""

    def forward(self, x: Tensor) -> Tensor:
        channels = x.size(1)
        if channels > 2:
            x = x + 1
        if not channels:
            x = x * 5
        assert channels, "no channels"
        if channels and channels < 9:
            x = x * 2
        while channels > 1:
            channels = channels - 1
            x = x + channels
        for _ in range(x.size(0)):
            x = x - 1
        return x if channels else -x


class Unpacking(nn.Module):
    """Traced sequences that are unpacked, rather than iterated over, by the instruction at hand."""

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, _, _ = x.shape
        first, *others = x.chunk(3, dim=1)
        return torch.cat([*x.split(1, dim=1), first, *others], 1).view(batch, 2 * channels, *x.shape[2:])


class Pooling(nn.Module):
    """Functions of torch that subscript builtin types, and code that does."""

    def forward(self, x: Tensor) -> Tensor:
        sizes = torch.jit.annotate(list[int], [2, 2])
        return nn.functional.max_pool2d(x, 2) + nn.functional.avg_pool2d(x, sizes)


def quickstart() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()


def test_importing_the_module_does_not_import_nni() -> None:
    code = "import sys, foad_plugins.adapters.nni.compat; sys.exit('nni' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_faults_of_this_torch_and_python_are_repaired(tracer: types.ModuleType) -> None:
    assert repair_nni() == NEEDED


def test_nni_as_shipped_cannot_trace(tracer: types.ModuleType) -> None:
    with pytest.raises((AttributeError, TypeError), match=r"startswith|__type_params__"):
        trace(tracer, quickstart(), torch.rand(2, 3, 8, 8))


@pytest.mark.parametrize("build", [quickstart, Branches, Unpacking, Pooling], ids=lambda build: build.__name__)
def test_repaired_nni_traces(tracer: types.ModuleType, build: Callable[[], nn.Module]) -> None:
    repair_nni()
    model = build()
    images = torch.rand(2, 3, 8, 8)
    traced = trace(tracer, model, images)
    other = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(traced(other), model(other))


def fit_loop() -> Any:
    """Lightning's loop, where it is installed; else a class that no repair changes."""
    if "lightning_steps" not in NEEDED:
        return types.SimpleNamespace(__name__="none", max_steps=property(lambda loop: 0))
    return importlib.import_module("pytorch_lightning.loops.fit_loop")._FitLoop


def speedup() -> tuple[types.ModuleType, ...]:
    modules = ("speedup.utils", "speedup.dependency", "base.compressor")
    return tuple(importlib.import_module(f"nni.compression.{name}") for name in modules)


def contents(tracer: types.ModuleType, proxy: types.ModuleType) -> dict[tuple[str, str], Any]:
    owners = (tracer, proxy, tracer.ConcreteTracer, proxy.ConcreteProxy, fit_loop(), *speedup())
    return {(owner.__name__, name): value for owner in owners for name, value in vars(owner).items()}


def test_nothing_else_changes_and_all_of_it_can_be_undone(tracer: types.ModuleType, proxy: types.ModuleType) -> None:
    table = dict(tracer.ConcreteTracer.default_autowrap_leaf_function)
    positions = {function: list(entry[0]) for function, entry in table.items()}
    shipped, get_instructions, wraps = contents(tracer, proxy), dis.get_instructions, functools.wraps

    repair_nni()
    repaired = contents(tracer, proxy)
    changed = {name for owner, name in shipped if repaired[owner, name] is not shipped[owner, name]}
    places = {
        "tensor_methods": "default_autowrap_leaf_function",
        "node_purity": "node_is_impure_wrapper",
        "instruction_positions": "dis",
        "jump_opcodes": "jump_opcodes",
        "type_parameters": "functools",
        "builtin_generics": "_create_wrapped_leaf_iterable_class",
        "lightning_steps": "max_steps",
        "size_leaves": "tree_map",
        "one_output_convolutions": "find_adjacent_layers",
        "fused_batch_norms": "register_wrappers",
    }
    assert repaired.keys() == shipped.keys()
    assert changed - {"tree_flatten"} == {places[name] for name in NEEDED}
    assert dis.get_instructions is get_instructions
    assert functools.wraps is wraps

    undo_nni_repairs()
    assert all(value is shipped[key] for key, value in contents(tracer, proxy).items())
    assert tracer.ConcreteTracer.default_autowrap_leaf_function == table
    assert all(table[function][0] == type(table[function][0])(entry) for function, entry in positions.items())


def test_a_second_call_changes_nothing(tracer: types.ModuleType, proxy: types.ModuleType) -> None:
    names = repair_nni()
    repaired = contents(tracer, proxy)
    assert repair_nni() == names
    assert all(value is repaired[key] for key, value in contents(tracer, proxy).items())


@pytest.mark.parametrize("fixed", NEEDED)
def test_no_repair_without_its_fault(
    fixed: str, tracer: types.ModuleType, proxy: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    repair_nni()
    cures = {
        "tensor_methods": (tracer.ConcreteTracer, "default_autowrap_leaf_function"),
        "node_purity": (tracer, "node_is_impure_wrapper"),
        "instruction_positions": (proxy, "dis"),
        "jump_opcodes": (proxy.ConcreteProxy, "jump_opcodes"),
        "type_parameters": (tracer, "functools"),
        "builtin_generics": (tracer, "_create_wrapped_leaf_iterable_class"),
        "lightning_steps": (fit_loop(), "max_steps"),
        "size_leaves": (speedup()[0], "tree_map"),
        "one_output_convolutions": (speedup()[1], "find_adjacent_layers"),
        "fused_batch_norms": (speedup()[2], "register_wrappers"),
    }
    owner, attribute = cures[fixed]
    cured = getattr(owner, attribute)
    undo_nni_repairs()
    monkeypatch.setattr(owner, attribute, cured)
    assert repair_nni() == tuple(name for name in NEEDED if name != fixed)
    assert getattr(owner, attribute) is cured


def test_node_purity_is_not_repaired_if_torch_passes_nothing(
    tracer: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.fx.Node, "is_impure", lambda self: False)
    assert "node_purity" not in repair_nni()


@pytest.mark.skipif("node_purity" not in NEEDED, reason="this torch does not have the fault")
def test_purity_is_still_decided_by_nni(tracer: types.ModuleType) -> None:
    shipped = tracer.node_is_impure_wrapper
    repair_nni()
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    nodes = [x, graph.call_method("add_", (x, 1)), graph.call_method("add", (x, 1)), graph.output(x)]
    answers = [tracer.node_is_impure_wrapper(node, True) for node in nodes]
    assert answers == [shipped(node) for node in nodes] == [True, True, False, True]


@pytest.mark.skipif("tensor_methods" not in NEEDED, reason="this torch does not have the fault")
def test_tensor_methods_get_their_place(tracer: types.ModuleType) -> None:
    repair_nni()
    table = tracer.ConcreteTracer.default_autowrap_leaf_function
    positions, _, override = table[torch.Tensor.add]
    assert (torch.Tensor, "add") in positions
    assert override is None
    assert table[torch.Tensor.split] == ([], False, torch.Tensor.split)
    assert torch._C.TensorBase.split not in table
    assert torch._C.TensorBase._make_subclass not in table


def test_every_code_unit_has_an_instruction() -> None:
    for function in (dis._get_instructions_bytes, importlib.import_module, dis.dis):
        shown = list(repairs_of_tracer._instruction_of_each_unit(function.__code__))
        assert len(shown) == len(function.__code__.co_code) // 2
        for instruction in dis.get_instructions(function):
            if instruction.opname not in ("CACHE", "EXTENDED_ARG"):
                assert shown[instruction.offset // 2] == instruction


def test_missing_nni_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"{TRACE_UTILS}.concrete_tracer", None)
    with pytest.raises(ImportError, match=r'pip install "foad-plugins\[nni\]"'):
        repair_nni()


def test_a_dependency_missing_from_nni_is_not_taken_for_missing_nni(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ModuleNotFoundError("No module named 'schema'", name="schema")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ModuleNotFoundError, match="schema"):
        repair_nni()
