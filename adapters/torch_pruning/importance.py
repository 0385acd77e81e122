"""FOAD as an importance for Torch-Pruning."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch_pruning as tp
from torch import Tensor, nn

from ...calibration.collect import ForwardFn
from ...calibration.data import check_data, first_images, is_iterator, iter_calls, model_device
from ...calibration.distributed import raise_on_all_ranks
from ...calibration.preserve import preserve_state
from ...criterion.ordering import ChannelOrder, check_order, elimination_order
from ...criterion.selection import Selection, greedy_select, validate_rule
from ...utils.warnings import UnscoredGroupWarning, warn
from .calibration import Calibration, CalibrationData, Places
from .graph import build_graph, dissolve, prunable_groups
from .groups import full_group, group_name, mean_over_channel_groups, num_channel_groups, rooted_at_reader
from .guards import check_prunable

__all__ = ["FOADImportance"]


class FOADImportance(tp.importance.Importance):
    """Importance of channels by how unlike their feature maps are to those of other channels.

    Pass it to any pruner of Torch-Pruning; it needs images, and neither labels nor gradients::

        pruner = tp.pruner.MetaPruner(model, images, importance=FOADImportance(images), pruning_ratio=0.5)
        pruner.step()

    The model is calibrated once for all groups when the first one is scored, and again when it has changed since: after
    a pruning step, fine-tuning, or another model's turn. A channel is judged by the feature maps that its readers see
    (the inputs of the layers that take it in), so behind normalization, activation and pooling; where different
    tensors carry the channels, as in a residual stage, their similarities are averaged. Channels that can only go
    together with others (grouped convolutions, GroupNorm, attention heads) share one score.

    Args:
        data: calibration data: a tensor (N, ...), a tuple or dict of model inputs, or an iterable of batches or
            (batch, label) pairs such as a DataLoader. Labels are not used. One hundred images or so are enough.
        neighbors: t of the published rule, at least 1; used by ``order="rounds"``.
        threshold: s of the published rule, in [0, 1]; used by ``order="rounds"``.
        order: how all channels are ranked, ``"rounds"``, ``"backward"``, ``"reconstruction"`` or ``"patches"``; see
            :func:`~foad_plugins.elimination_order`. Groups without a consumer for ``"patches"`` are ranked by
            ``"reconstruction"``, and those without one that ran by ``"rounds"``.
        max_batches: use so many batches of ``data`` at most; None uses all.
        forward_fn: called as ``forward_fn(model, batch)``, for models that take their inputs in another way.
        progress: show a progress bar while calibrating.
        distributed: all ranks of torch.distributed calibrate, each on its own data, and get the scores of all data.
            Every rank must make the same calls with the same model.
        products: take the products that compensation needs as well; ``order="reconstruction"`` and ``"patches"``
            take them anyway.

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
    ) -> None:
        self.neighbors, self.threshold = validate_rule(neighbors, threshold)
        self.order = check_order(order)
        self._options = CalibrationData(max_batches, forward_fn, progress, distributed)
        if data is not None:
            check_data(data)
        self.data = data
        self._patches = self.order == "patches"
        self._products = products or self._patches or self.order == "reconstruction"
        self._calibration: Calibration | None = None

    def calibrate(self, model: nn.Module, data: Any = None) -> FOADImportance:
        """Read the feature maps now, for all groups of a model.

        Args:
            model: the network to be pruned; left as it was.
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
            check_data(data)
            self.data = data
        check_prunable(model)
        with raise_on_all_ranks(self._options.distributed), preserve_state(model):
            source = self._source()
            first = next(iter_calls(source, model_device(model), 1))
            graph = build_graph(model, first_images(first), self._options.forward_fn)
        if is_iterator(source):
            source = chain([first.batch], source)
        groups = prunable_groups(graph, [])
        if not groups:
            raise ValueError("the model has no convolution or linear layer whose channels could be pruned")
        places = Places.of(groups, products=self._products)
        # Of a network with many concatenations graph and groups are larger than what is gathered.
        del groups
        dissolve(graph)
        self._calibrate(model, places, source)
        return self

    def __call__(self, group: tp.Group) -> Tensor | None:
        """Score the channels of a group.

        Args:
            group: one of Torch-Pruning's coupled groups.

        Returns:
            (len(group[0].idxs),) float64 tensor on the CPU, higher for more important; or None, with an
            :class:`~foad_plugins.UnscoredGroupWarning`, if none of the group's feature maps could be read.

        Raises:
            ValueError: no data was given, or it can be read only once and the model has changed since; and as
                :meth:`calibrate`.
        """
        ranked = self.ranking(group)
        return None if ranked is None else ranked.importance().repeat(num_channel_groups(group))[list(group[0].idxs)]

    def ranking(self, group: tp.Group, similarity: Tensor | None = None) -> ChannelOrder | None:
        """All channels of a group's root in the order in which they should go; None as for scoring.

        Where channels can only go together, the indices are those within one part (see :func:`num_channel_groups`).

        Args:
            group: one of Torch-Pruning's coupled groups.
            similarity: what :meth:`similarity` gives for it, where that is known already.
        """
        similarity = self.similarity(group) if similarity is None else similarity
        if similarity is None:
            return None
        full = full_group(group)
        order, terms = self.order, self._terms(full, self.order)
        if order == "patches" and not terms:
            order, terms = "reconstruction", self._terms(full, "reconstruction")
        if order == "reconstruction" and not terms:
            order = "rounds"
        return elimination_order(
            mean_over_channel_groups(similarity, num_channel_groups(group)),
            order,
            neighbors=self.neighbors,
            threshold=self.threshold,
            terms=terms,
        )

    def _terms(self, group: tp.Group, order: str) -> list[Any]:
        """What an order goes by in a full group; empty for those by similarity, and where no consumer ran."""
        if order == "patches":
            return list(self._find(group).patch_terms(group))
        return list(self._find(group).terms(group)) if order == "reconstruction" else []

    def similarity(self, group: tp.Group) -> Tensor | None:
        """Mean similarity of the channels of a group's root, (C, C) float32; None as for scoring."""
        full = full_group(group)
        statistics = self._find(full).similarity(full)
        if statistics is None or statistics.count == 0:
            name = group_name(group)
            warn(
                f"no feature map of the group of layer {name!r} could be read: no layer that reads or makes all of its "
                "channels ran on the calibration data. It gets no score and stays as it is.",
                UnscoredGroupWarning,
            )
            return None
        return statistics.compute()

    def selection(self, group: tp.Group) -> Selection | None:
        """What the published rule selects in a group, by channel index of its root; None as for scoring.

        Where channels can only go together, the indices are those within one part (see :func:`num_channel_groups`).
        """
        similarity = self.similarity(group)
        if similarity is None:
            return None
        return greedy_select(
            mean_over_channel_groups(similarity, num_channel_groups(group)), self.neighbors, self.threshold
        )

    @property
    def calibration(self) -> Calibration:
        """What the last calibration found.

        Raises:
            ValueError: there was none.
        """
        if self._calibration is None:
            raise ValueError("not calibrated yet: call calibrate(model, data) first")
        return self._calibration

    def __getstate__(self) -> dict[str, Any]:
        # A calibration is of one model, which it knows by reference: a copy makes its own.
        return {**vars(self), "_calibration": None}

    def _find(self, group: tp.Group) -> Calibration:
        """A calibration that knows a full group, made now if there is none for the model as it stands."""
        graph, known = group._DG, self._calibration
        current = known is not None and known.holds(graph.model, products=self._products, patches=self._patches)
        if known is not None and current and known.similarity(group) is not None:
            return known
        groups = [group, *prunable_groups(graph, [])]
        if current:
            # Rooted elsewhere than Torch-Pruning's default, as attention layers are: so will be its fellows.
            groups += [other for other in map(rooted_at_reader, groups) if other is not None]
        return self._calibrate(graph.model, Places.of(groups, products=self._products), self._source())

    def _source(self) -> Any:
        if self.data is None:
            raise ValueError(
                "FOADImportance has no calibration data: give images to the constructor, FOADImportance(images), or "
                "call calibrate(model, images) first"
            )
        if is_iterator(self.data) and self._calibration is not None:
            raise ValueError(
                "the model has changed since it was calibrated and the calibration data can be read only once: give a "
                "tensor, a list or a DataLoader instead of a generator, or call calibrate(model, data) again"
            )
        return self.data

    def _calibrate(self, model: nn.Module, places: Places, data: Any) -> Calibration:
        self._calibration = Calibration(
            model, places, data, self._options, products=self._products, patches=self._patches
        )
        return self._calibration
