"""What NNI 3.0's compressors and speedup need today; each repair returns None where its fault is absent."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import types
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...utils.layers import layer_width
from ...utils.text import enumerate_some
from .replace import Undo, replace_attribute

__all__ = [
    "repair_fused_batch_norms",
    "repair_lightning_steps",
    "repair_one_output_convolutions",
    "repair_size_leaves",
]


def repair_lightning_steps() -> Undo | None:
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
    return replace_attribute(
        fit_loop, "max_steps", steps.setter(lambda loop, value: setattr(loop.epoch_loop, "max_steps", value))
    )


def repair_size_leaves() -> Undo | None:
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

    undo_map = replace_attribute(utils, "tree_map", functools.partial(utils.tree_map, is_leaf=is_size))
    undo_flatten = replace_attribute(utils, "tree_flatten", functools.partial(utils.tree_flatten, is_leaf=is_size))

    def undo() -> None:
        undo_map()
        undo_flatten()

    return undo


def repair_one_output_convolutions() -> Undo | None:
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

    return replace_attribute(dependency, "find_adjacent_layers", find_adjacent_layers)


def repair_fused_batch_norms() -> Undo | None:
    """Let NNI's compressors refuse to fuse batch normalization that a pruner has masked, before they change anything.

    NNI notices it after it has extended the pruner's wrappers, and its message names neither the option nor what to do.

    Fault: the function that registers wrappers is not this one.
    """
    compressor = importlib.import_module("nni.compression.base.compressor")
    register = compressor.register_wrappers
    if register.__module__ == __name__:
        return None

    def register_wrappers(
        model: torch.nn.Module,
        config_list: Sequence[Mapping[str, Any]],
        mode: str,
        existed_wrappers: Mapping[str, Any] | None = None,
    ) -> Any:
        fused = {name for config in config_list for names in config.get("fuse_names") or () for name in names[1:]}
        masked = sorted(fused.intersection(existed_wrappers or ()))
        if masked:
            raise ValueError(
                f"fuse_names has {enumerate_some(map(repr, masked))}, which another compressor has wrapped, so that it "
                "cannot be fused: run ModelSpeedup first, and make the quantizer of the pruned model, without "
                "from_compressor"
            )
        return register(model, config_list, mode, existed_wrappers)

    return replace_attribute(compressor, "register_wrappers", register_wrappers)


def _import_speedup(module: str) -> types.ModuleType:
    with warnings.catch_warnings():
        # NNI registers nodes of trees by a function that torch deprecates, and types that torch has registered since.
        warnings.simplefilter("ignore")
        return importlib.import_module(f"nni.compression.speedup.{module}")
