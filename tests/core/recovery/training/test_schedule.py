from __future__ import annotations

import pytest

from foad_plugins.recovery.training.schedule import learning_rate_factor


def test_the_rate_rises_in_the_warm_up_and_falls_along_half_a_cosine():
    factors = [learning_rate_factor(step, 24, 4) for step in range(24)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[14] == pytest.approx(0.5)
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert 0 < factors[-1] < 0.01


def test_without_warm_up_it_starts_at_the_highest():
    assert learning_rate_factor(0, 1, 0) == 1
