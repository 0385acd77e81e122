"""FOAD as an importance for Torch-Pruning."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch_pruning as tp
from torch import Tensor, nn

from ...calibration.data import CalibrationData, ForwardFn, first_images, is_iterator, model_device
from ...calibration.distributed import raise_on_all_ranks
from ...calibration.passes import check_max_memory
from ...calibration.preserve import preserve_state
from ...criterion.ordering import ChannelOrder, check_order, elimination_order
from ...criterion.selection import Selection, greedy_select, validate_rule
from ...utils.warnings import UnscoredGroupWarning, warn
from .calibration import Calibration, CalibrationPlan
from .graph import build_graph, each_prunable_group
from .groups import CoupledGroup, mean_over_channel_groups
from .guards import OutputWidths, check_prunable

__all__ = ["FOADImportance"]


class FOADImportance(tp.importance.Importance):
    """Importance of channels: low where the feature maps resemble those of other channels.

    Pass it to any pruner of Torch-Pruning; it needs images, and neither labels nor gradients::

        pruner = tp.pruner.MetaPruner(model, images, importance=FOADImportance(images), pruning_ratio=0.5)
        pruner.step()

    The model is calibrated once for all groups when the first one is scored, and again when it has changed since: after
    a pruning step, after fine-tuning, or when another model is scored. A channel is judged by the feature maps at the
    input of the layers that consume it, so after normalization, activation and pooling. Where different tensors contain
    the channels, as in a residual stage, their similarities are averaged. Channels that can only be removed together
    with others (grouped convolutions, GroupNorm, attention heads) share one score.

    Args:
        data: calibration data: a tensor (N, ...), a tuple or dict of the inputs of one call, or an iterable of batches
            or (batch, label) pairs such as a DataLoader. Labels are not used. One hundred images or so are enough. A
            tuple with more tensors of one form than the model takes, as ``images.split(32)``, holds batches.
        neighbors: t of the published rule, at least 1; used by ``order="rounds"``.
        threshold: s of the published rule, in [0, 1]; used by ``order="rounds"``.
        order: how all channels are ranked, ``"rounds"``, ``"backward"``, ``"reconstruction"`` or ``"patches"``; see
            :func:`~foad_plugins.elimination_order`. Groups without a consumer for ``"patches"`` are ranked by
            ``"reconstruction"``, and those without one that ran by ``"rounds"``.
        max_batches: use at most this many batches of ``data``; None uses all.
        forward_fn: called as ``forward_fn(model, batch)``, for models that take their inputs in another way.
        progress: show a progress bar while calibrating.
        distributed: all ranks of torch.distributed calibrate, each on its own data, and get the scores of all data.
            Every rank must make the same calls with the same model.
        products: collect the products that compensation needs as well; ``order="reconstruction"`` and ``"patches"``
            always do.
        max_memory: a limit for the sums of similarities: bytes (int), or a share of the device's memory (float in
            (0, 1]). Groups beyond it wait for another pass over the data. None, the default, needs one pass.

    Raises:
        TypeError: data of another form.
        ValueError: a parameter out of its range.
    """

    def __init__(
        self,
        data: Any = None,
        *,
        neighbors: int = 1,
        threshold: float = 0.0,
        order: str = "rounds",
        max_batches: int | None = None,
        forward_fn: ForwardFn | None = None,
        progress: bool = False,
        distributed: bool = False,
        products: bool = False,
        max_memory: float | None = None,
    ) -> None:
        self.neighbors, self.threshold = validate_rule(neighbors, threshold)
        self.order = check_order(order)
        self._data = CalibrationData(data, max_batches, forward_fn, progress, distributed)
        patches = self.order == "patches"
        self._parts = {"products": products or patches or self.order == "reconstruction", "patches": patches}
        self._max_memory = check_max_memory(max_memory)
        self._calibration: Calibration | None = None
        self._output_widths = OutputWidths()

    @property
    def data(self) -> Any:
        """The calibration data; None if none was given yet."""
        return self._data.data

    def calibrate(self, model: nn.Module, data: Any = None) -> FOADImportance:
        """Collect the statistics now, for all groups of a model.

        Args:
            model: the network to be pruned; left unchanged.
            data: calibration data as for the constructor; None takes that given there.

        Returns:
            This object.

        Raises:
            TypeError: data of another form.
            ValueError: no data, no batch, images without a batch dimension, or NaN or Inf in a feature map (names
                the layer).
            RuntimeError: with ``distributed``, another rank failed.
        """
        if data is not None:
            self._data = replace(self._data, data=data)
        check_prunable(model)
        with raise_on_all_ranks(self._data.distributed), preserve_state(model):
            first, source = self._source(model).peek(model_device(model))
            graph = build_graph(model, first_images(first), source.forward_fn)
        plan = self._plan(each_prunable_group(graph, []))
        if not plan.channel_sets:
            raise ValueError("the model has no convolution or linear layer whose channels could be pruned")
        # In a network with many concatenations the graph needs more memory than the statistics.
        del graph
        self._calibrate(model, plan, source)
        return self

    def calibration_of(self, group: CoupledGroup) -> Calibration:
        """The calibration of a group's model as it is now, made here if there is none yet.

        Raises:
            As for scoring.
        """
        model, known = group.group._DG.model, self._calibration
        current = known is not None and known.is_of(model, **self._parts)
        if known is not None and current and known.similarity(group) is not None:
            return known
        # If there is a calibration, this group is rooted at a consumer, as Torch-Pruning does for attention; calibrate
        # the others under that root too.
        plan = self._plan(_with_others(group, at_consumers=current))
        return self._calibrate(model, plan, self._source(model))

    def calibrate_groups(self, groups: Sequence[CoupledGroup]) -> Calibration:
        """Collect the statistics of some groups of one model now.

        Args:
            groups: at least one; with ``max_memory``, their order is that of the passes.

        Raises:
            As for scoring.
        """
        model = groups[0].group._DG.model
        return self._calibrate(model, self._plan(groups), self._source(model))

    def release(self, group: CoupledGroup) -> None:
        """Free the sums of a group's similarities; if they are needed again, that takes another pass over the data."""
        if self._calibration is not None:
            self._calibration.release(group)

    def __call__(self, group: tp.Group) -> Tensor | None:
        """Score the channels of a group.

        Args:
            group: one of Torch-Pruning's coupled groups.

        Returns:
            (len(group[0].idxs),) float64 tensor on the CPU, higher for more important; or None, with an
            :class:`~foad_plugins.UnscoredGroupWarning`, if none of the group's feature maps was observed.

        Raises:
            ValueError: no data was given, or it can be read only once and the model has changed since; and as
                :meth:`calibrate`.
        """
        coupled = CoupledGroup.of(group)
        blocks = coupled.by_blocks()
        if blocks is not None:
            return self._scores_by_block(group, coupled, blocks)
        order = self.ranking(coupled)
        return None if order is None else order.importance().repeat(coupled.channel_groups)[list(group[0].idxs)]

    def _scores_by_block(self, group: tp.Group, coupled: CoupledGroup, blocks: CoupledGroup) -> Tensor | None:
        """Scores of features that are removed with a whole block of them: those of the block."""
        order = self.ranking(blocks)
        if order is None:
            return None
        scores, above = order.importance(), -math.inf
        for block in order.sequence:
            # Torch-Pruning may take features of several blocks in turn where their scores are equal.
            above = scores[block] = max(float(scores[block]), math.nextafter(above, math.inf))
        of_feature = {feature: block for block, feature in coupled.consumers[blocks.group[0].dep.target.module]}
        return scores[[of_feature[feature] for feature in group[0].idxs]]

    def ranking(self, group: tp.Group | CoupledGroup, similarity: Tensor | None = None) -> ChannelOrder | None:
        """The channels of a group in the order of removal, as relative indices; None as for scoring.

        Args:
            group: the group; relative indices are those within one of its channel groups.
            similarity: what :meth:`similarity` gives for it, where that is known already.
        """
        group = CoupledGroup.of(group)
        similarity = self.similarity(group) if similarity is None else similarity
        if similarity is None:
            return None
        order, terms = self.order, self._terms(group, self.order)
        if order == "patches" and not terms:
            order, terms = "reconstruction", self._terms(group, "reconstruction")
        if order == "reconstruction" and not terms:
            order = "rounds"
        return elimination_order(
            mean_over_channel_groups(similarity, group.channel_groups),
            order,
            neighbors=self.neighbors,
            threshold=self.threshold,
            terms=terms,
        )

    def _terms(self, group: CoupledGroup, order: str) -> list[Any]:
        """The terms of an order; empty for those by similarity, and where no consumer ran."""
        if order == "patches":
            return list(self.calibration_of(group).patch_terms(group))
        return list(self.calibration_of(group).terms(group)) if order == "reconstruction" else []

    def similarity(self, group: tp.Group | CoupledGroup) -> Tensor | None:
        """Mean similarity of the channels of a group's root, (C, C) float32; None as for scoring."""
        group = CoupledGroup.of(group)
        if group.features_form_channels:
            # Not equally many each, or the layer that consumes the channels has not run.
            warn(
                f"several features of layer {group.name!r} become one channel, as by view or Unflatten, and can only "
                "be removed together. The group gets no score and is not pruned.",
                UnscoredGroupWarning,
            )
            return None
        statistics = self.calibration_of(group).similarity(group)
        if statistics is None or statistics.count == 0:
            warn(
                f"no feature map of the group of layer {group.name!r} was observed: no layer that consumes or produces "
                "all of its channels ran on the calibration data. It gets no score and is not pruned.",
                UnscoredGroupWarning,
            )
            return None
        return statistics.compute()

    def selection(self, group: tp.Group | CoupledGroup) -> Selection | None:
        """What the published rule selects in a group, as relative indices; None as for scoring."""
        group = CoupledGroup.of(group)
        similarity = self.similarity(group)
        if similarity is None:
            return None
        joint = mean_over_channel_groups(similarity, group.channel_groups)
        return greedy_select(joint, self.neighbors, self.threshold)

    @property
    def calibration(self) -> Calibration:
        """The last calibration.

        Raises:
            ValueError: there was none.
        """
        if self._calibration is None:
            raise ValueError("not calibrated yet: call calibrate(model, data) first")
        return self._calibration

    def __getstate__(self) -> dict[str, Any]:
        # A calibration belongs to one model, by reference: a copy of this object calibrates its own model.
        return {**vars(self), "_calibration": None}

    def _plan(self, groups: Iterable[CoupledGroup]) -> CalibrationPlan:
        return CalibrationPlan.of(groups, products=self._parts["products"])

    def _calibrate(self, model: nn.Module, plan: CalibrationPlan, source: CalibrationData) -> Calibration:
        self._output_widths.check(plan.output_widths)
        self._calibration = Calibration(model, plan, source, max_memory=self._max_memory, **self._parts)
        return self._calibration

    def _source(self, model: nn.Module) -> CalibrationData:
        if self.data is None:
            raise ValueError(
                "FOADImportance has no calibration data: give images to the constructor, FOADImportance(images), or "
                "call calibrate(model, images) first. A pruner of Torch-Pruning has counted the step that failed: call "
                "pruner.reset() before the next step"
            )
        if is_iterator(self.data) and self._calibration is not None:
            raise ValueError(
                "the model has changed since it was calibrated and the calibration data can be read only once: give a "
                "tensor, a list or a DataLoader instead of a generator, or call calibrate(model, data) again"
            )
        return self._data.for_model(model)


def _with_others(group: CoupledGroup, *, at_consumers: bool) -> Iterator[CoupledGroup]:
    """A group and all others of its graph, each under its own root first and, where wanted, under a consumer's."""
    for root in (False, True) if at_consumers else (False,):
        for one in chain([group], each_prunable_group(group.group._DG, [])):
            found = one.rooted_at_consumer() if root else one
            if found is not None:
                yield found
