"""FOAD as a pruner for NNI 3.0 config lists."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...calibration.collect import calibrate
from ...calibration.data import CalibrationData, Call, ForwardFn, first_images, is_iterator, model_device
from ...calibration.preflight import check_forward
from ...calibration.preserve import preserve_state
from ...criterion.ordering import check_order, elimination_order
from ...criterion.selection import greedy_select, validate_rule
from ...criterion.similarity import ChannelStatistics
from ...utils.rollback import rollback_on_error
from ...utils.warnings import UnscoredGroupWarning, warn
from ..torch_pruning.groups import mean_over_channel_groups
from ..torch_pruning.guards import check_prunable
from .batch_norm_masks import batch_norm_masks, batch_norm_wrappers
from .by_rule import by_rule, keep_at_least_one, rule_masks
from .compat import repair_nni
from .config import check_config
from .hook_points import channels_by_layer, check_traceable, model_call

# NNI's pruners import its tracer, so the repairs come first.
repair_nni()

from nni.compression.pruning.basic_pruner import _NormPruner  # noqa: E402
from nni.compression.pruning.tools import generate_sparsity  # noqa: E402

__all__ = ["FOADPruner"]

_ByTarget = dict[str, dict[str, Tensor]]


class FOADPruner(_NormPruner):
    """Prunes output channels of convolutions and linear layers by the similarity of their feature maps.

    A pruner of NNI: it works alone, under ``AGPPruner`` and ``LinearPruner``, and from ``from_compressor``::

        pruner = FOADPruner(model, config_list, data=loader)
        _, masks = pruner.compress()
        pruner.unwrap_model()
        ModelSpeedup(model, images, masks).speedup_model()

    Ratios, thresholds, global and dependency groups in the config are those of NNI; the metric is the score
    of :func:`~foad_plugins.elimination_order`. A layer without a ratio or threshold is pruned by the published rule
    (``neighbors``, ``threshold``). Channels are scored by the feature maps at the inputs of their consumers, and layers
    of one dependency group by their mean similarity. Batch normalization after a removed channel is also masked, so
    that the masked model has the outputs of the model after speedup, unless a layer follows that is not 0 at 0, such as
    a sigmoid or GroupNorm. Channels that were masked before remain masked, and every layer keeps at least one channel.

    Args:
        model: the model, not wrapped.
        config_list: NNI's config list.
        evaluator: an NNI evaluator; needed under a schedule, and for calibration if there is no ``data``.
        training_steps: without ``data``, the number of training batches of the evaluator to calibrate on, at least 1.
        data: calibration data as for :class:`~foad_plugins.FOADImportance`; needs no label and no optimizer.
        neighbors: t of the published rule, at least 1.
        threshold: s of the published rule, in [0, 1].
        order: ``"rounds"`` or ``"backward"``: how channels are ranked for a ratio.
        max_batches: largest number of batches of ``data``; None uses all.
        forward_fn: called as ``forward_fn(model, batch)`` for batches of ``data``.
        progress: show a progress bar while calibrating.
        existed_wrappers: NNI's own, set by ``from_compressor``.

    Raises:
        ImportError: NNI is not installed.
        TypeError: data or a config list of another form.
        ValueError: neither data nor an evaluator with ``training_steps``; a parameter out of its range; a config that
            is refused (see :func:`~foad_plugins.adapters.nni.config.check_config`); or a model that cannot be
            traced. All errors are raised before the model is wrapped.
    """

    def __init__(
        self,
        model: nn.Module,
        config_list: list[dict[str, Any]],
        evaluator: Any = None,
        training_steps: int | None = None,
        *,
        data: Any = None,
        neighbors: int = 1,
        threshold: float = 0.0,
        order: str = "rounds",
        max_batches: int | None = None,
        forward_fn: ForwardFn | None = None,
        progress: bool = False,
        existed_wrappers: Any = None,
    ) -> None:
        self.neighbors, self.threshold = validate_rule(neighbors, threshold)
        self.order = check_order(order, ("backward", "rounds"))
        check_prunable(model)
        check_config(model, config_list)
        self.training_steps = training_steps
        source = CalibrationData(data, max_batches, forward_fn, progress).for_model(model)
        self._data: CalibrationData | None = None
        self._statistics: dict[Any, ChannelStatistics] = {}
        self._rule_counts: dict[str, int] = {}
        self._original: nn.Module | None = None
        self._steps_seen = 0
        self._hook: RemovableHandle | None = None
        if data is not None:
            with preserve_state(model):
                # Loaders draw random numbers, also those that do not shuffle.
                call, self._data = source.peek(model_device(model))
            first = first_images(call)
            check_forward(model, first, forward_fn)
            self._call = model_call(model, first, forward_fn)
            self._channels = channels_by_layer(model, self._call)
            check_traceable(model, self._call)
        elif evaluator is None or training_steps is None or training_steps < 1:
            raise ValueError(
                "FOADPruner needs calibration data: give data=images (or a loader), or an evaluator with "
                f"training_steps of at least 1, got training_steps={training_steps!r}"
            )
        else:
            # The first training batch shows how the model is called; then its consumers are found in this copy.
            self._original = copy.deepcopy(model)
        existed = existed_wrappers or {}
        norms = {name: wrapper for name, wrapper in batch_norm_wrappers(model).items() if name not in existed}
        with rollback_on_error(model):
            super().__init__(model, config_list, evaluator, {**norms, **existed})
        if data is None and training_steps is not None:
            self.interval_steps = training_steps

    @classmethod
    def from_compressor(
        cls,
        compressor: Any,
        new_config_list: list[dict[str, Any]],
        training_steps: int | None = None,
        *,
        evaluator: Any = None,
        **kwargs: Any,
    ) -> FOADPruner:
        """Use the wrappers and the evaluator of another NNI compressor; other arguments as for the constructor."""
        inherit = super(_NormPruner, cls).from_compressor
        pruner: FOADPruner = inherit(
            compressor, new_config_list, training_steps=training_steps, evaluator=evaluator, **kwargs
        )
        return pruner

    def unwrap_model(self) -> None:
        """Remove NNI's wrappers; the modules are then as before."""
        super().unwrap_model()
        if self._hook is not None:
            self._hook.remove()
        for wrapper in self._module_wrappers.values():
            # NNI restores the forward method as an attribute of the instance, even if there was none.
            if wrapper.module_forward == MethodType(type(wrapper.module).forward, wrapper.module):
                vars(wrapper.module).pop("forward", None)

    def _collect_data(self) -> _ByTarget:
        if self._data is not None:
            if is_iterator(self._data.data) and self._statistics:
                raise ValueError(
                    "the calibration data can be read only once, and masks are computed again: give a tensor, a list "
                    "or a DataLoader instead of a generator"
                )
            self._statistics = {}
            self._observe(self._data)
        elif not self._statistics:
            raise ValueError("the evaluator's training gave no batch to calibrate on")
        data: _ByTarget = {}
        for members in self._dependency_groups():
            keys = dict.fromkeys(self._channels[name].channels.key() for name in members if name in self._channels)
            seen = [self._statistics[key].compute() for key in keys if self._statistics[key].count]
            for name in members:
                if seen:
                    data[name] = {"weight": torch.stack(seen).mean(0)}
                else:
                    warn(f"no feature map of layer {name!r} was observed: it keeps all channels", UnscoredGroupWarning)
        if self._data is None:
            self._statistics, self._steps_seen = {}, 0
        return data

    def _calculate_metrics(self, data: _ByTarget) -> _ByTarget:
        metrics: _ByTarget = {}
        for members in self._dependency_groups():
            if members[0] not in data:
                continue
            similarity = data[members[0]]["weight"]
            blocks = [self._target_spaces[name]["weight"].internal_metric_block or 1 for name in members]
            known = [self._channels[name].channel_groups for name in members if name in self._channels]
            channel_groups = math.lcm(*blocks, *known)
            is_by_rule = by_rule(self._target_spaces[members[0]]["weight"])
            joint = mean_over_channel_groups(similarity, channel_groups)
            alive = self._alive(members[0]).view(channel_groups, -1).any(0).nonzero().flatten().to(joint.device)
            rule: dict[str, Any] = {"neighbors": self.neighbors, "threshold": self.threshold}
            left = joint[alive][:, alive]
            scores = torch.full((len(joint),), -1.0, dtype=torch.float64)
            scores[alive.cpu()] = elimination_order(left, "rounds" if is_by_rule else self.order, **rule).importance()
            for name in members:
                dims = self._target_spaces[name]["weight"].target.dim()
                metrics[name] = {"weight": scores.repeat(channel_groups).view(-1, *[1] * (dims - 1))}
                if is_by_rule:
                    removed = len(joint) - len(alive) + len(greedy_select(left, **rule).removed)
                    self._rule_counts[name] = removed * channel_groups
        return metrics

    def _generate_sparsity(self, metrics: _ByTarget) -> _ByTarget:
        spaces = {name: self._target_spaces[name] for name in metrics}
        by_ratio = {name: targets for name, targets in spaces.items() if not by_rule(targets["weight"])}
        masks = {name: dict(found) for name, found in generate_sparsity(metrics, by_ratio).items()}
        for name in spaces.keys() - by_ratio.keys():
            masks[name] = rule_masks(spaces[name], metrics[name]["weight"], self._rule_counts[name])
        for name, found in masks.items():
            keep_at_least_one(found, metrics[name]["weight"])
        norms = batch_norm_masks(self.bound_model, masks, self._call)
        return {**masks, **{name: found for name, found in norms.items() if name in self._module_wrappers}}

    def _single_compress(self, max_steps: int | None, max_epochs: int | None) -> None:
        if self._data is not None:
            super()._single_compress(max_steps, max_epochs)
            return
        if max_steps is not None or max_epochs is not None:
            raise ValueError("FOADPruner trains for training_steps: compress() takes neither max_steps nor max_epochs")
        self._fusion_compress(self.training_steps, None)
        if self._statistics:
            raise ValueError(
                f"the evaluator's training ended after {self._steps_seen} of "
                f"training_steps={self.training_steps} batches"
            )

    def _fuse_preprocess(self, evaluator: Any) -> None:
        super()._fuse_preprocess(evaluator)
        if self._data is None:
            self._seen_any, self._busy = False, False
            self._hook = self.bound_model.register_forward_pre_hook(self._on_training_batch, with_kwargs=True)

    def _fuse_postprocess(self, evaluator: Any) -> None:
        super()._fuse_postprocess(evaluator)
        if self._hook is not None:
            self._hook.remove()
            if not self._seen_any:
                raise ValueError("the evaluator's training gave no batch to calibrate on: it never called the model")

    def _on_training_batch(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Calibrate on a training batch of the evaluator, in eval mode, before its training step."""
        if self._busy or not model.training or self._steps_seen >= (self.training_steps or 0):
            return
        self._busy = True
        try:
            if self._original is not None:
                self._call = first_images(Call(args, args, kwargs))
                self._channels = channels_by_layer(self._original, self._call, onto=model)
                self._original = None
            self._observe(
                CalibrationData([(args, kwargs)], forward_fn=lambda network, batch: network(*batch[0], **batch[1]))
            )
            self._steps_seen += 1
            self._seen_any = True
        finally:
            self._busy = False

    def _observe(self, data: CalibrationData) -> None:
        sets = [layer.channels for name, layer in self._channels.items() if name in self._target_spaces]
        wanted = {channels.key(): channels for channels in sets}
        found, _ = calibrate(self.bound_model, data, list(wanted.values()))
        for key, statistics in zip(wanted, found, strict=True):
            self._statistics[key] = self._statistics[key].merge(statistics) if key in self._statistics else statistics

    def _dependency_groups(self) -> list[list[str]]:
        together: dict[Any, list[str]] = defaultdict(list)
        for name, targets in self._target_spaces.items():
            group = targets["weight"].dependency_group_id
            together[("layer", name) if group is None else ("group", group)].append(name)
        return list(together.values())

    def _alive(self, name: str) -> Tensor:
        mask: Tensor = self._target_spaces[name]["weight"].mask
        return mask.flatten(1).ne(0).any(1).cpu()
