from __future__ import annotations

import pytest

from foad_plugins.allocation.carry import POWER, carried_losses

COUNTS = [1, 2, 3, 4, 5]
ERRORS = [0.01, 0.02, 0.05, 0.1, 0.4]


@pytest.mark.parametrize("probe", COUNTS)
def test_one_probe_gives_a_loss_that_is_a_power_of_the_error(probe):
    truth = [3 * error**POWER for error in ERRORS]
    assert carried_losses(COUNTS, ERRORS, {probe: truth[probe - 1]}) == pytest.approx(truth)


def test_two_probes_give_the_power_between_them():
    truth = [2 * error**1.7 for error in ERRORS]
    found = carried_losses(COUNTS, ERRORS, {1: truth[0], 5: truth[4]})
    assert found == pytest.approx(truth)


def test_measured_losses_are_kept_as_they_are():
    measured = dict(zip(COUNTS, [0.1, 0.3, 0.2, 0.9, 1.0], strict=True))
    assert carried_losses(COUNTS, ERRORS, measured) == list(measured.values())


def test_an_output_that_does_not_change_has_no_loss_anywhere():
    assert carried_losses(COUNTS, ERRORS, {3: 0.0}) == [0.0] * 5


def test_channels_without_an_error_keep_the_measured_loss():
    assert carried_losses(COUNTS, [0.0] * 5, {3: 0.5}) == pytest.approx([0.5] * 5)


def test_equal_errors_between_probes_are_joined_by_a_line():
    assert carried_losses([1, 2, 3], [0.1, 0.1, 0.1], {1: 1.0, 3: 3.0}) == pytest.approx([1.0, 2.0, 3.0])


def test_nothing_measured_is_no_loss():
    assert carried_losses(COUNTS, ERRORS, {}) == [0.0] * 5
