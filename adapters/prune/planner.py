"""From coupled groups and a goal to the channels that go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch_pruning.dependency import Group

from ...calibration.collect import ForwardFn
from ...calibration.data import Call
from ...cost.latency import measure_latency
from ...criterion.selection import Selection, greedy_select, selection_of
from ...report.data import LatencyTrial
from ..torch_pruning.groups import group_name, mean_over_channel_groups, num_channel_groups
from .arguments import Goal, shares_of
from .cost_model import Costs
from .model_size import Size
from .ranking import RankingCache
from .search import Candidate, Limits, Ranking, TargetError, after, cut_at_ratio, search, sequence
from .verify import is_provable

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["TOLERANCE", "Choice", "Plan", "Planner"]

TOLERANCE = 0.01
"""How far from a target FLOPs and parameters may end, as a share of the original's."""

Outcome = tuple[float, float]
"""What a plan was predicted to leave of what the goal counts, and what it left."""


@dataclass(frozen=True, eq=False)
class Choice:
    """A group and what is decided for it, with what is known of it before anything is removed.

    Attributes:
        group: over all channels of its root.
        name: of the root layer.
        parts: into how many equal parts the channels fall that lose the same relative indices.
        provable: whether the removal can be proved.
        selection: the relative indices kept and removed.
    """

    group: Group
    name: str
    parts: int
    provable: bool
    selection: Selection

    @classmethod
    def of(cls, group: Group, selection: Selection) -> Choice:
        """Looks up the rest."""
        return cls(group, group_name(group), num_channel_groups(group), is_provable(group), selection)

    @property
    def representatives(self) -> dict[int, int]:
        """The channels of the root that go, each with its representative."""
        size, chosen = self.selection.num_channels, self.selection
        return {
            part * size + channel: part * size + representative
            for part in range(self.parts)
            for channel, representative in zip(chosen.removed, chosen.representative, strict=True)
        }


@dataclass(frozen=True, eq=False)
class Plan:
    """What should go.

    Attributes:
        choices: all groups that could be read, and what is decided for them.
        sample: images to prove the removal on.
        similarity: (C, C) by name of the group.
        predicted: what the goal counts, after the removal; None where nothing is counted.
        floor: whether all goes that may go, because no less is predicted to do.
        trials: networks timed on the way.
        notes: for the report.
    """

    choices: tuple[Choice, ...]
    sample: Call
    similarity: Mapping[str, Tensor]
    predicted: float | None = None
    floor: bool = False
    trials: tuple[LatencyTrial, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class Planner:
    """Plans the steps of one call.

    Args:
        base: size of the network before the first step, which targets are shares of.
        sample: images to prove removals on.
        batch: the first calibration batch, which latency is measured on.
        ranking: how groups compete.
        round_to: widths end at multiples of this.
        ratios: share that the groups of some layers lose whatever the target.
        caps: share that a group may lose at most, by layer; and of all others.
    """

    base: Size
    sample: Call
    batch: Call
    ranking: Ranking
    round_to: int
    ratios: Mapping[nn.Module, float]
    caps: tuple[Mapping[nn.Module, float], float]
    _ranked: RankingCache = field(default_factory=RankingCache)
    _latency: float | None = None

    def plan(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        settings: Settings,
        goal: Goal,
        size: Size,
        came: Sequence[Outcome],
    ) -> Plan:
        """Decide for every group that can be read what goes, knowing what earlier plans of this step came to."""
        candidates: list[Candidate] = []
        similarities: dict[str, Tensor] = {}
        choices: list[Choice] = []
        if not came:
            self._ranked.forget()
        for group in groups:
            found = settings.importance.similarity(group)
            if found is None:
                continue
            similarity = mean_over_channel_groups(found, num_channel_groups(group))
            similarities[group_name(group)] = similarity.cpu()
            if goal.kind == "rule":
                choices.append(Choice.of(group, greedy_select(similarity, goal.neighbors, goal.threshold)))
            else:
                ranked = self._ranked.candidate(group, settings.importance, settings.ranker, found)
                if ranked is not None:
                    candidates.append(ranked)
        if goal.kind == "rule":
            return Plan(tuple(choices), self.sample, similarities)
        counts, predicted, floor, trials, notes = self._count(model, candidates, settings, goal, size, came)
        unscored = self._ranked.unscored
        if unscored:
            some = f"{', '.join(map(repr, unscored[:5]))}{' and others' if len(unscored) > 5 else ''}"
            notes = (*notes, f"{type(settings.ranker).__name__} scores no channels of {some}, which stay whole")
        choices = [
            Choice.of(candidate.group, selection_of(similarities[candidate.name], candidate.sequence[:count]))
            for candidate, count in zip(candidates, counts, strict=True)
        ]
        return Plan(tuple(choices), self.sample, similarities, predicted, floor, trials, notes)

    def missed(self, goal: Goal, plan: Plan, size: Size, came: Sequence[Outcome]) -> Outcome | None:
        """What came of a plan, if aiming elsewhere may meet the goal; None if it is met or there is no more to try."""
        if plan.predicted is None or self.note(goal, size) is None or plan.predicted in dict(came):
            return None
        actual = self._counted(goal, size)
        right = not came and abs(plan.predicted - actual) < 1e-3 * self._counted(goal, self.base)
        return None if right and not plan.floor else (plan.predicted, actual)

    def note(self, goal: Goal, size: Size) -> str | None:
        """For the report, if FLOPs or parameters ended away from the goal."""
        if goal.kind not in ("flops", "params"):
            return None
        share = self._counted(goal, size) / self._counted(goal, self.base)
        if abs(share - goal.value) <= TOLERANCE:
            return None
        return f"{goal.kind}={goal.value:g} is met to {share:.3f} only: no widths were found that end nearer"

    def original_latency(self, model: nn.Module, forward_fn: ForwardFn | None) -> float:
        """Seconds of a call before the first step, measured once and while the model is still whole."""
        if self._latency is None:
            self._latency = measure_latency(model, self.batch, forward_fn=forward_fn)
        return self._latency

    def _counted(self, goal: Goal, size: Size) -> int:
        return size.table.params if goal.kind == "params" else size.table.flops

    def limits(self, candidates: Sequence[Candidate], round_to: int) -> Limits:
        """What may be removed from some candidates."""
        caps, other = self.caps
        most, fixed, made = [], {}, set()
        for number, candidate in enumerate(candidates):
            makes = candidate.group._DG.is_out_channel_pruning_fn
            layers = [item.dep.target.module for item in candidate.group if makes(item.dep.handler)]
            made.update(layers)
            most.append(min(shares_of(caps, layers), default=other))
            shares = shares_of(self.ratios, layers)
            if len(shares) > 1:
                raise ValueError(
                    f"pruning_ratio_dict gives the coupled group of layer {candidate.name!r} several ratios: "
                    f"{', '.join(map(str, shares))}"
                )
            if shares:
                fixed[number] = shares[0]
        for layer, share in self.ratios.items():
            if share and made.isdisjoint(layer.modules()):
                names = candidates[0].group._DG._module2name if candidates else {}
                raise ValueError(
                    f"pruning_ratio_dict: layer {names.get(layer, type(layer).__name__)!r} has no channels that may go "
                    "(it is ignored, makes the model's output or has none)"
                )
        return Limits(round_to, most, fixed)

    def _count(
        self,
        model: nn.Module,
        candidates: Sequence[Candidate],
        settings: Settings,
        goal: Goal,
        size: Size,
        came: Sequence[Outcome],
    ) -> tuple[list[int], float | None, bool, tuple[LatencyTrial, ...], tuple[str, ...]]:
        """How many channels go from each candidate, and the rest of a :class:`Plan`."""
        if goal.kind == "latency":
            from .latency_search import search_latency

            counts, trials, notes = search_latency(self, model, candidates, settings, goal, size)
            return counts, None, False, trials, notes
        start, steps = sequence(candidates, self.ranking, self.limits(candidates, self.round_to))
        if goal.kind == "pruning_ratio":
            return cut_at_ratio(candidates, start, steps, goal.value, self.ranking), None, False, (), ()
        costs = Costs([candidate.group for candidate in candidates], size.table, counted=size.counted)

        def cost(removed: Sequence[int]) -> float:
            found = costs.at(removed)
            counted = found.params if goal.kind == "params" else found.flops
            assert counted is not None
            return counted

        base = self._counted(goal, self.base)
        aim = _aim(goal.value * base, self._counted(goal, size), came)
        try:
            counts = search(start, steps, cost, aim, TOLERANCE * base)
            floor = False
        except TargetError:
            counts, floor = after(start, steps), True
            least = dict(came).get(cost(counts))
            if least is not None:
                raise TargetError(
                    f"{goal.kind}={goal.value:g} cannot be met: with all that may go removed, {least / base:.1%} of "
                    f"the original's {'parameters' if goal.kind == 'params' else 'FLOPs'} are left (ignored_layers, "
                    "the output's layers, round_to, pruning_ratio_dict and max_pruning_ratio set that floor)"
                ) from None
        return counts, cost(counts), floor, (), ()


def _aim(wanted: float, now: float, came: Sequence[Outcome]) -> float:
    """What to aim at by prediction: off the goal, by what earlier predictions came to."""
    if not came:
        return wanted
    below = [outcome for outcome in came if outcome[1] <= wanted]
    above = [outcome for outcome in [*came, (now, now)] if outcome[1] > wanted]
    if below and above:
        (low, little), (high, much) = max(below, key=itemgetter(1)), min(above, key=itemgetter(1))
        return low + (high - low) * (wanted - little) / (much - little)
    predicted, actual = came[-1]
    return predicted + wanted - actual
