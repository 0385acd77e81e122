from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from foad_plugins.calibration.data import Call
from foad_plugins.recovery.refitting.lockstep import Solvable, in_lockstep


class Doubling(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        x = self.a(x)
        if x.isnan().any():
            raise ArithmeticError("NaN")
        return x + self.b(x)


def run_call(model, call):
    return model(*call.args)


def alive():
    return [thread for thread in threading.enumerate() if thread.name == "foad-refit"]


def sides(at_sum=False):
    old, new = Doubling(), Doubling()
    return [
        (model, {"a": Solvable(model.a, None, False), "b": Solvable(model.b, None, at_sum)}, model is new)
        for model in (old, new)
    ]


def calls(count=3):
    return [Call((torch.randn(4, 3),), None) for _ in range(count)]


def test_all_passes_stop_at_the_same_layer_and_see_its_new_weights():
    both, given = sides(), calls()
    new = both[1][0]
    seen = []
    with in_lockstep(both, given, run_call, ["a", "b"]) as stops:
        for name, together in stops:
            seen.append(name)
            for old, other in together:
                assert old.name == other.name == name
                assert old.output is not None
                assert other.x is not None
                if name == "b":
                    torch.testing.assert_close(other.x, torch.zeros_like(other.x))
            with torch.no_grad():
                getattr(new, name).weight.zero_()
                getattr(new, name).bias.zero_()
    assert seen == ["a", "b"]
    assert not alive()


def test_at_a_sum_the_layer_runs_again_with_its_new_weights():
    both, given = sides(at_sum=True), calls(1)
    new = both[1][0]
    results = []

    def keep(model, call):
        results.append((model, run_call(model, call)))

    with in_lockstep(both, given, keep, ["a", "b"]) as stops:
        for name, [(_, stop)] in stops:
            if name == "b":
                torch.testing.assert_close(stop.output, new.b(stop.x))
                assert stop.other is stop.x
                with torch.no_grad():
                    new.b.weight.zero_()
                    new.b.bias.fill_(5.0)
    result = dict(results)[new]
    torch.testing.assert_close(result, new.a(given[0].args[0]) + 5)


def test_leaving_ends_all_passes_wherever_they_are():
    with in_lockstep(sides(), calls(), run_call, ["a", "b"]) as stops:
        next(iter(stops))
        assert len(alive()) == 6
    assert not alive()


def test_models_that_catch_everything_are_ended_too():
    def stubborn(model, call):
        try:
            return run_call(model, call)
        except Exception:
            return run_call(model, call)

    with in_lockstep(sides(), calls(), stubborn, ["a", "b"]) as stops:
        next(iter(stops))
    assert not alive()


def test_what_a_model_raises_comes_out_and_no_thread_is_left():
    given = [*calls(2), Call((torch.full((4, 3), float("nan")),), None)]
    with pytest.raises(ArithmeticError), in_lockstep(sides(), given, run_call, ["a", "b"]) as stops:
        for _ in stops:
            pass
    assert not alive()


def test_a_layer_that_some_passes_leave_out_is_shown_without_stops():
    def run(model, call):
        return model.b(*call.args) if call.batch == "short" else model(*call.args)

    given = [*calls(2), Call((torch.randn(4, 3),), "short")]
    with in_lockstep(sides(), given, run, ["a", "b"]) as stops:
        assert [(name, together is None) for name, together in stops] == [("a", True), ("b", False)]


def test_passes_work_without_gradients_and_with_the_callers_autocast():
    seen = []

    def run(model, call):
        seen.append((torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), model.a(*call.args).dtype))

    with torch.autocast("cpu", dtype=torch.bfloat16), in_lockstep(sides(), calls(1), run, ["a", "b"]) as stops:
        for _ in stops:
            pass
    assert seen == [(False, True, torch.bfloat16)] * 2
