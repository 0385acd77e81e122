"""From coupled groups and a target to the channels that are removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import mul

from torch import nn
from tqdm.auto import tqdm

from ...allocation.widths import Budget
from ...cost.latency import measure_latency
from ...utils.text import enumerate_some
from ..torch_pruning.groups import CoupledGroup
from .arguments import Target, ratios_of
from .by_sensitivity import CurveCache, schedule_by_sensitivity
from .cost_model import CostModel, TargetDistance, corrected_aim, tolerance_of, unreachable
from .latency_search import narrowed_copy, search_latency
from .model_size import ModelSize
from .plan import GroupDecision, Plan
from .ranking import RankingCache
from .removal import WrongRemovalError, failing_groups
from .search import (
    Attempt,
    Candidate,
    Limits,
    Schedule,
    TargetError,
    counts_after,
    cut_at_ratio,
    removal_schedule,
    search,
)
from .settings import PruneConfig

__all__ = ["Planner"]


class Planner:
    """Plans the steps of one call.

    Args:
        config: of the call.
        base: size of the network before the first step; targets are shares of it.

    Attributes:
        aim: how far sizes are from targets.
    """

    def __init__(self, config: PruneConfig, base: ModelSize) -> None:
        self._config = config
        self._base = base
        self.aim = TargetDistance(base)
        # The report shows similarities; with a limit of memory it has none.
        self._rankings = RankingCache(config.importance, config.ranker, keep_similarity=config.max_memory is None)
        self._sensitivity = CurveCache(config)
        self._latency: float | None = None
        self._kept_whole: dict[CoupledGroup, str] = {}
        self._checked: set[str] = set()

    def start_step(self) -> None:
        """Rank the groups again: the model has changed."""
        self._rankings.clear()
        self._sensitivity.clear()

    def keep_whole(self, groups: Mapping[CoupledGroup, str]) -> None:
        """Leave some groups out of every plan from now on, each for a reason."""
        self._kept_whole.update(groups)

    def to_prune(self, groups: Sequence[CoupledGroup]) -> list[CoupledGroup]:
        """Those of some groups that are not kept whole; each trace of the model gives new ones."""
        kept = {layer for group in self._kept_whole for layer in group.layers}
        return [group for group in groups if kept.isdisjoint(group.layers)]

    @property
    def kept_whole(self) -> Mapping[CoupledGroup, str]:
        """The groups that are left out of every plan, each with the reason."""
        return self._kept_whole

    @property
    def notes(self) -> tuple[str, ...]:
        """One for each reason for which groups are kept whole."""
        by_reason: dict[str, dict[str, None]] = {}
        for group, reason in self._kept_whole.items():
            by_reason.setdefault(reason, {}).update(dict.fromkeys(group.producer_names))
        return tuple(
            f"all channels of {', '.join(map(repr, names))} are kept: {why}" for why, names in by_reason.items()
        )

    def plan(
        self,
        model: nn.Module,
        groups: Sequence[CoupledGroup],
        target: Target,
        size: ModelSize,
        previous_attempts: Sequence[Attempt],
    ) -> Plan:
        """Decide for every group with a feature map what to remove.

        Args:
            model: as it is.
            groups: its groups.
            target: of this step.
            size: of the model.
            previous_attempts: what earlier plans of this step led to.

        Raises:
            TargetError: no plan meets the target.
            ValueError: a ranker fails, or ratios contradict each other.
            WrongRemovalError: for a latency, groups that cannot be removed from a copy.
        """
        candidates: list[Candidate] = []
        decisions: list[GroupDecision] = []
        show = self._config.data.progress and not previous_attempts
        for group in tqdm(groups, desc="ranking", unit="group", disable=not show):
            if group.features_form_channels:
                self.keep_whole({group: "several features become one channel, as by view or Unflatten"})
                continue
            if target.kind == "rule":
                selection = self._rankings.selection(group, target.neighbors, target.threshold)
                decisions += [] if selection is None else [GroupDecision(group, selection)]
            elif (candidate := self._rankings.candidate(group)) is not None:
                candidates.append(candidate)
            if group.name in self._rankings.unobserved:
                self.keep_whole({group: "no feature map of them was observed"})
        similarities = self._rankings.similarities
        if target.kind == "rule":
            return Plan(tuple(decisions), similarities)
        if target.kind == "latency":
            # Networks of other widths are timed before anything is verified.
            self._check_removable(model, candidates)
        try:
            counts, plan = self._count(model, candidates, target, size, previous_attempts)
        except TargetError as error:
            raise TargetError("; ".join([str(error), *self.notes])) from None
        decided = tuple(
            GroupDecision(one.group, one.nearest.selection(count))
            for one, count in zip(candidates, counts, strict=True)
        )
        notes = (*plan.notes, *self._sensitivity.notes)
        if self._rankings.unscored:
            unscored = enumerate_some(map(repr, self._rankings.unscored))
            notes = (
                *notes,
                f"{type(self._config.ranker).__name__} scores no channels of {unscored}, which are not pruned",
            )
        curves = self._sensitivity.curves
        return replace(plan, decisions=decided, similarity=similarities, curves=curves, notes=notes)

    def _count(
        self,
        model: nn.Module,
        candidates: Sequence[Candidate],
        target: Target,
        size: ModelSize,
        previous_attempts: Sequence[Attempt],
    ) -> tuple[list[int], Plan]:
        """How many channels each candidate loses, and a plan without decisions."""
        if target.kind == "latency":
            return self._count_by_latency(model, candidates, target, size)
        ranking, limits = self._config.ranking, self._limits(candidates, self._config.round_to)
        costs = _cost_model(candidates, size)
        start, steps = self._schedule(model, candidates, limits, self._budgets(candidates, costs, target))
        if target.kind == "pruning_ratio":
            return cut_at_ratio(candidates, (start, steps), target.value, ranking), Plan()

        def excess(counts: Sequence[int]) -> float:
            found = costs.at(counts)
            return self.aim.excess(target, found.params, found.flops)

        aim = corrected_aim(self.aim.excess(target, size.table.params, size.flops), previous_attempts)
        try:
            counts = search(start, steps, excess, aim, tolerance_of(target))
            return counts, Plan(predicted=excess(counts))
        except TargetError:
            counts = counts_after(start, steps)
        least = dict(previous_attempts).get(excess(counts))
        if least is not None:
            raise TargetError(unreachable(target, least))
        return counts, Plan(predicted=excess(counts), at_minimum=True)

    def _check_removable(self, model: nn.Module, candidates: Sequence[Candidate]) -> None:
        names = {one.group.name for one in candidates}
        if names <= self._checked:
            return
        # About half of the channels, an odd number: an even one may fit a network cut into halves by chance.
        decisions = [
            GroupDecision(one.group, one.nearest.selection(len(one.sequence) // 2 | 1))
            for one in candidates
            if len(one.sequence) > 1
        ]
        failing = failing_groups(model, self._config, decisions)
        if failing:
            raise WrongRemovalError("networks of other widths cannot be timed", failing)
        self._checked |= names

    def _schedule(
        self, model: nn.Module, candidates: Sequence[Candidate], limits: Limits, budgets: Sequence[Budget]
    ) -> Schedule:
        if self._config.ranking != "sensitivity":
            return removal_schedule(candidates, self._config.ranking, limits)
        curves = self._sensitivity.measure(model, candidates)
        return schedule_by_sensitivity(candidates, curves, limits, budgets)

    def _budgets(self, candidates: Sequence[Candidate], costs: CostModel, target: Target) -> list[Budget]:
        """What removals save, for a ranking by sensitivity: the target's costs; channels for a pruning ratio."""
        if target.kind == "pruning_ratio":
            sizes = [candidate.group.channel_groups for candidate in candidates]
            total = sum(candidate.width * size for candidate, size in zip(candidates, sizes, strict=True))
            return [
                Budget(str(target), "channels", lambda counts: -sum(map(mul, counts, sizes)) / total, -target.value)
            ]
        counted = ["flops" if self._base.counted else "params"]
        return [
            Budget(str(target), name, partial(self._share_left, costs, name), target.shares.get(name, 0.0))
            for name in target.shares or counted
        ]

    def _share_left(self, costs: CostModel, name: str, counts: Sequence[int]) -> float:
        found = costs.at(counts)
        return (found.params if name == "params" else found.flops or 0.0) / self._base.cost(name)

    def _count_by_latency(
        self, model: nn.Module, candidates: Sequence[Candidate], target: Target, size: ModelSize
    ) -> tuple[list[int], Plan]:
        config, base, costs = self._config, self._base, _cost_model(candidates, size)
        if self._latency is None:
            # Of the network before the first step.
            self._latency = measure_latency(model, config.batch, forward_fn=config.forward_fn)
        original = self._latency

        def schedule_for(round_to: int) -> Schedule:
            budgets = self._budgets(candidates, costs, target)
            return self._schedule(model, candidates, self._limits(candidates, round_to), budgets)

        def measure(counts: Sequence[int]) -> tuple[float, float]:
            bar.update()
            wanted = {one.group.name: count for one, count in zip(candidates, counts, strict=True)}
            narrow = narrowed_copy(model, config.sample, config.forward_fn, wanted)
            cost = costs.at(counts)
            share = cost.params / base.table.params if cost.flops is None or not base.flops else cost.flops / base.flops
            return share, measure_latency(narrow, config.batch, forward_fn=config.forward_fn) / original

        with tqdm(desc="timing narrower networks", unit="network", disable=not config.data.progress) as bar:
            counts, trials, notes = search_latency(schedule_for, measure, target.value, config.round_to)
        return counts, Plan(trials=trials, notes=notes)

    def _limits(self, candidates: Sequence[Candidate], round_to: int) -> Limits:
        config = self._config
        most, fixed = [], {}
        for number, candidate in enumerate(candidates):
            most.append(min(ratios_of(config.max_ratios, candidate.group.layers), default=config.max_ratio))
            ratios = ratios_of(config.ratios, candidate.group.layers)
            if len(ratios) > 1:
                raise ValueError(
                    f"pruning_ratio_dict gives the coupled group of layer {candidate.group.name!r} several ratios: "
                    f"{', '.join(map(str, ratios))}"
                )
            if ratios:
                fixed[number] = ratios[0]
        groups = [*(candidate.group for candidate in candidates), *self._kept_whole]
        prunable = {layer for group in groups for layer in group.layers}
        for layer, ratio in config.ratios.items():
            if ratio and prunable.isdisjoint(layer.modules()):
                names = candidates[0].group.group._DG._module2name if candidates else {}
                raise ValueError(
                    f"pruning_ratio_dict: layer {names.get(layer, type(layer).__name__)!r} has no channels that may be "
                    "removed (it is ignored, produces the model's output or has none)"
                )
        return Limits(round_to, most, fixed)


def _cost_model(candidates: Sequence[Candidate], size: ModelSize) -> CostModel:
    return CostModel([candidate.group for candidate in candidates], size.table, counted=size.counted)
