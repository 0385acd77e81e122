from __future__ import annotations

import pytest
import torch
from torch import nn

from foad_plugins.utils.rollback import rollback_on_error, undone_on_error


class _Break(BaseException):
    pass


def _halve(model):
    model[0].weight = nn.Parameter(model[0].weight[:2].detach())
    model[0].out_features = 2
    model[1].running_mean = model[1].running_mean[:2]
    model[0].extra = "new"


def _fail(model, change):
    with rollback_on_error(model):
        change(model)
        raise _Break


def _try(model, change):
    with pytest.raises(_Break):
        _fail(model, change)


def _model():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_everything_is_undone():
    model = _model()
    before = {name: id(tensor) for name, tensor in model.state_dict(keep_vars=True).items()}
    _try(model, _halve)
    assert {name: id(tensor) for name, tensor in model.state_dict(keep_vars=True).items()} == before
    assert model[0].out_features == 4
    assert not hasattr(model[0], "extra")


def test_modules_that_were_put_in_are_out_again():
    model = _model()
    _try(model, lambda network: setattr(network[0], "wrapper", nn.ReLU()))
    assert [name for name, _ in model.named_modules()] == ["", "0", "1"]


def test_success_keeps_changes_and_frozen_parameters():
    model = _model()
    model[0].weight.requires_grad_(False)
    with rollback_on_error(model):
        _halve(model)
        model[0].register_parameter("late", nn.Parameter(torch.zeros(1)))
    assert model[0].weight.shape == (2, 3)
    assert not model[0].weight.requires_grad
    assert model[0].late.requires_grad


def test_a_tie_that_is_split_keeps_its_flag():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model[0].weight.requires_grad_(False)
    with rollback_on_error(model):
        model[1].weight = nn.Parameter(torch.zeros(2, 3))
    assert not model[1].weight.requires_grad


def test_recurrent_layers_run_with_their_old_weights():
    model, steps = nn.LSTM(3, 4), torch.rand(2, 1, 3)
    expected = model(steps)[0]
    _try(model, lambda lstm: setattr(lstm, "weight_ih_l0", nn.Parameter(torch.zeros(16, 3))))
    assert torch.equal(model(steps)[0], expected)


def test_values_are_what_they_were_after_an_error_however_often_they_were_written():
    tensor = torch.tensor([3.0, float("nan")])

    def fail():
        with undone_on_error() as changes:
            changes.write(tensor, torch.zeros(2, dtype=torch.float64))
            changes.write(tensor, torch.ones(2))
            assert [(one is tensor, value.tolist()) for one, value in changes.values()] == [(True, [1.0, 1.0])]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    torch.testing.assert_close(tensor, torch.tensor([3.0, float("nan")]), rtol=0, atol=0, equal_nan=True)


def test_values_are_kept_without_an_error():
    parameter = nn.Parameter(torch.zeros(2))
    with undone_on_error() as changes:
        changes.write(parameter, torch.ones(2))
    assert parameter.tolist() == [1.0, 1.0]
    assert parameter.grad_fn is None
