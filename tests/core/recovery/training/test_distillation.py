from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from foad_plugins.recovery.training.distillation import (
    cosine_distance,
    output_loss,
    relative_squared_error,
    softened_kl,
)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64) + 2


def test_the_squared_error_is_relative_to_mean_square_or_variance(pair):
    output, target = pair
    error = F.mse_loss(output, target)
    torch.testing.assert_close(relative_squared_error(output, target), error / target.square().mean())
    centered = relative_squared_error(output, target, centered=True)
    torch.testing.assert_close(centered, error / target.var(correction=0))
    torch.testing.assert_close(relative_squared_error(3 * output, 3 * target, centered=True), centered)


def test_a_constant_target_gives_a_finite_error_and_an_exact_output_a_finite_gradient():
    assert relative_squared_error(torch.ones(4), torch.full((4,), 2.0), centered=True).isfinite()
    output = torch.ones(3, requires_grad=True)
    relative_squared_error(output, torch.ones(3)).backward()
    assert torch.equal(output.grad, torch.zeros(3))


def test_the_softened_divergence_is_that_of_the_probabilities(pair):
    output, target = pair
    p, q = (target / 3).softmax(1), (output / 3).softmax(1)
    torch.testing.assert_close(softened_kl(output, target, temperature=3), 9 * (p * (p / q).log()).sum(1).mean())
    assert softened_kl(target, target + 7).abs() < 1e-12


def test_the_divergence_of_a_map_is_the_mean_over_its_positions():
    output, target = torch.randn(2, 2, 4, 3, 3).unbind(0)
    flat = [tensor.permute(0, 2, 3, 1).reshape(-1, 4) for tensor in (output, target)]
    torch.testing.assert_close(softened_kl(output, target), softened_kl(*flat))


def test_the_cosine_distance_ignores_lengths(pair):
    output, target = pair
    torch.testing.assert_close(cosine_distance(5 * output, target), cosine_distance(output, target))
    torch.testing.assert_close(cosine_distance(-target, target), torch.tensor(2.0, dtype=torch.float64))


def test_names_give_their_losses_and_others_are_refused(pair):
    assert output_loss("auto")(*pair) == output_loss("mse")(*pair) == relative_squared_error(*pair, centered=True)
    assert output_loss("kl", 4.0)(*pair) == softened_kl(*pair, temperature=4.0)
    assert output_loss("cosine") is cosine_distance
    assert output_loss(F.l1_loss) is F.l1_loss
    with pytest.raises(ValueError, match="'auto', 'mse', 'kl', 'cosine' or a function, got 'l1'"):
        output_loss("l1")
