from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch.nn import functional

from foad_plugins.allocation import OutputDifference
from tests.helpers.device_waits import device_waits
from tests.helpers.seeds import generator


def random(*shape, number=0):
    return torch.randn(*shape, generator=generator(number))


def test_difference_is_the_squared_error_over_the_variance():
    first, second = random(40, 10), random(40, 10, number=1)
    expected = (first - second).square().mean() / first.var(correction=0)
    assert OutputDifference([first])([second]) == pytest.approx(float(expected), rel=1e-5)


def test_batches_count_as_one_tensor():
    first, second = random(40, 10), random(40, 10, number=1)
    whole = OutputDifference([first])([second])
    assert OutputDifference(first.split(7))(second.split(7)) == pytest.approx(whole, rel=1e-9)


def test_each_tensor_is_in_units_of_its_own_variance():
    first, second = random(8, 4), random(8, 2, 3, 3, number=1)
    small = OutputDifference([{"a": first, "b": [second, None, 3]}])
    large = OutputDifference([{"a": 1000 * first, "b": [second, None, 3]}])
    changed = 1.1 * first
    assert small([{"a": changed, "b": [second, None, 3]}]) == pytest.approx(
        large([{"a": 1000 * changed, "b": [second, None, 3]}])
    )


@dataclass
class Output:
    logits: torch.Tensor
    mask: torch.Tensor


def test_tensors_that_are_not_floating_point_are_ignored():
    logits = random(8, 4)
    difference = OutputDifference([Output(logits, logits > 0)])
    assert difference([Output(logits, logits < 0)]) == 0.0


def test_kl_is_the_divergence_of_classes():
    first, second = random(40, 10), random(40, 10, number=1)
    expected = functional.kl_div(second.log_softmax(1), first.log_softmax(1), reduction="batchmean", log_target=True)
    assert OutputDifference([first], "kl")([second]) == pytest.approx(float(expected), rel=1e-5)


def test_kl_of_maps_is_the_mean_over_positions():
    first, second = random(4, 5, 3, 3), random(4, 5, 3, 3, number=1)
    rows = first.movedim(1, -1).reshape(-1, 5), second.movedim(1, -1).reshape(-1, 5)
    assert OutputDifference([first], "kl")([second]) == pytest.approx(OutputDifference([rows[0]], "kl")([rows[1]]))


def test_excluded_classes_add_nothing():
    first = random(4, 5)
    first[:, 0] = -torch.inf
    assert OutputDifference([first], "kl")([first.clone()]) == 0.0
    assert OutputDifference([first])([first.clone()]) == 0.0


def test_a_constant_output_is_compared_by_its_size():
    first = torch.full((4, 3), 2.0)
    assert OutputDifference([first])([1.1 * first]) == pytest.approx(0.01, rel=1e-5)
    assert OutputDifference([torch.zeros(4, 3)])([torch.zeros(4, 3)]) == 0.0


def test_what_is_not_finite_gives_no_finite_loss():
    first = random(4, 5)
    changed = first.clone()
    changed[1, 2] = torch.nan
    assert OutputDifference([first])([changed]) != OutputDifference([first])([changed])
    assert OutputDifference([first], "kl")([changed]) != OutputDifference([first], "kl")([changed])


@pytest.mark.parametrize(
    ("reference", "kind", "error", "message"),
    [
        ([3], "output", TypeError, "floating-point tensor, but a int.*forward_fn"),
        ([], "output", ValueError, "no batch"),
        ([torch.zeros(2, 2)], "mse", ValueError, "'output', 'kl', got 'mse'"),
        ([torch.full((2, 2), torch.nan)], "output", ValueError, "own output holds NaN"),
        ([torch.zeros(2, 2), [torch.zeros(2, 2)] * 2], "output", ValueError, "another number of tensors"),
    ],
)
def test_outputs_that_cannot_be_compared_are_refused(reference, kind, error, message):
    with pytest.raises(error, match=message):
        OutputDifference(reference, kind)


def test_outputs_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"change their shapes.*\(4, 5\).*\(4, 6\).*forward_fn"):
        OutputDifference([torch.ones(4, 5)])([torch.ones(4, 6)])


@pytest.mark.parametrize("kind", ["output", "kl"])
def test_the_host_waits_for_the_device_as_often_for_many_batches_as_for_one(kind):
    first, second = random(12, 10), random(12, 10, number=1)
    waits = [
        device_waits(partial(OutputDifference(first.split(size), kind), second.split(size))) for size in (12, 4, 1)
    ]
    assert waits == [1, 1, 1]
