from __future__ import annotations

import pytest

from foad_plugins.allocation import GroupCurve
from foad_plugins.allocation.group_curve import allowed_counts


def curve(*losses, removed=(2, 4, 6)):
    return GroupCurve("conv", ("conv",), 8, 1, removed, losses, losses, (True,) * len(losses))


def test_points_are_kept_and_joined():
    found = curve(0.1, 0.4, 1.6)
    assert [found.loss(count) for count in (0, 2, 4, 6)] == [0.0, 0.1, 0.4, 1.6]
    assert found.loss(1) == pytest.approx(0.025)
    assert found.loss(3) == pytest.approx(0.2)
    assert found.loss(5) == pytest.approx(0.8)
    assert found.loss(7) == 1.6


def test_losses_that_are_not_positive_are_joined_by_lines():
    found = curve(-0.1, 0.0, 1.0)
    assert found.loss(3) == pytest.approx(-0.05)
    assert found.loss(5) == pytest.approx(0.5)


def test_a_group_of_one_channel_has_no_loss():
    assert curve(removed=()).loss(1) == 0.0


@pytest.mark.parametrize(
    ("arguments", "counts"),
    [
        ((8, 1, 1, 1.0), [1, 2, 3, 4, 5, 6, 7]),
        ((8, 1, 1, 0.5), [1, 2, 3, 4]),
        ((8, 1, 4, 1.0), [4]),
        ((10, 1, 4, 1.0), [2, 6]),
        ((8, 4, 8, 1.0), [2, 4, 6]),
        ((8, 1, 1, 1.0, 2), [1, 2]),
        ((8, 1, 1, 0.0), []),
        ((1, 1, 1, 1.0), []),
    ],
)
def test_allowed_counts_leave_allowed_widths(arguments, counts):
    assert allowed_counts(*arguments) == counts
