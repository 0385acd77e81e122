from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

from foad_plugins.recovery.training.data import TrainingData, training_data

IMAGES = torch.arange(40.0).view(40, 1)


def prepared(data: Any, **options: Any) -> TrainingData:
    settings = {"batch_size": 8, "device": None, "left_out": None, "whole_batches": False} | options
    return training_data(data, **settings)


def seen(data: TrainingData, count: int, *, seed: int = 0, start: int = 0) -> list[list[float]]:
    batches = data.batches(seed, start)
    return [next(batches).args[0].flatten().tolist() for _ in range(count)]


def flat(batches: list[list[float]]) -> list[float]:
    return sorted(value for batch in batches for value in batch)


def left_out(data: TrainingData) -> list[float]:
    return flat([call.args[0].flatten().tolist() for call in data.left_out])


FORMS = {
    "tensor": lambda: IMAGES,
    "list": lambda: list(IMAGES.split(7)),
    "generator": lambda: iter(IMAGES.split(7)),
    "pairs": lambda: [(part, None) for part in IMAGES.split(7)],
    "loader": lambda: DataLoader(TensorDataset(IMAGES), batch_size=3),
    "shuffled loader": lambda: DataLoader(TensorDataset(IMAGES), batch_size=3, shuffle=True),
    "batches of a loader": lambda: DataLoader(TensorDataset(IMAGES), batch_sampler=[[*range(25)], [*range(25, 40)]]),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_epoch_has_every_image_that_is_not_left_out_once(form):
    data = prepared(FORMS[form](), left_out=4, batch_size=10)
    assert (data.images, data.per_epoch) == (36, 4)
    assert left_out(data) == [0, 10, 20, 30]
    first, second = seen(data, 4), seen(data, 8)[4:]
    assert flat(first) == flat(second) == [value for value in range(40) if value % 10]
    assert first != second
    assert [len(batch) for batch in first] == [10, 10, 10, 6]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("start", [2, 5, 7])
def test_batches_from_any_place_on_are_those_of_a_whole_training(form, start):
    data = prepared(FORMS[form](), left_out=4)
    assert seen(data, 3, start=start) == seen(prepared(FORMS[form](), left_out=4), start + 3)[start:]


def test_a_small_last_batch_is_dropped():
    assert prepared(IMAGES[:38], left_out=3).per_epoch == 4
    assert prepared(IMAGES[:4], left_out=1).per_epoch == 1
    assert prepared(IMAGES[:6], left_out=1, batch_size=2).per_epoch == 2


def test_keyword_and_several_inputs_are_shuffled_together():
    calls = prepared({"a": IMAGES, "b": -IMAGES}).batches(0, 0)
    call = next(calls)
    assert torch.equal(call.kwargs["a"], -call.kwargs["b"])
    call = next(prepared((IMAGES, -IMAGES)).batches(0, 0))
    assert torch.equal(call.args[0], -call.args[1])
    call = next(prepared([((part, -part), None) for part in IMAGES.split(7)]).batches(0, 0))
    assert torch.equal(call.args[0], -call.args[1])


def test_batches_that_do_not_fit_together_and_those_for_a_forward_fn_are_kept():
    unlike = [torch.full((2 + place, 1 + place), float(place)) for place in range(5)]
    data = prepared(unlike)
    assert data.per_epoch == 4
    assert len(data.left_out) == 1
    assert sorted(len(next(iter(one))) for one in [[batch] for batch in seen(data, 4)]) == sorted(
        len(unlike[place].flatten()) for place in range(1, 5)
    )
    whole = prepared([(part, "label") for part in IMAGES.split(10)], whole_batches=True)
    assert next(whole.batches(0, 0)).batch[1] == "label"


def test_a_loader_with_a_sampler_of_its_own_keeps_its_batches():
    loader = DataLoader(TensorDataset(IMAGES), batch_size=4, sampler=SubsetRandomSampler(range(20)))
    data = prepared(loader)
    assert data.per_epoch == 4
    assert len(data.left_out) == 1
    assert all(len(batch) == 4 for batch in seen(data, 9))
    assert max(flat(seen(data, 4))) < 20


def test_an_iterable_without_length_is_counted_and_its_first_batches_are_left_out():
    class Batches:
        def __iter__(self):
            return iter(IMAGES.split(2))

    data = prepared(Batches(), left_out=3)
    assert left_out(data) == [0, 1, 2, 3]
    assert (data.per_epoch, data.images) == (18, 36)
    assert seen(data, 3, start=17) == [[38, 39], [4, 5], [6, 7]]


@pytest.mark.parametrize(
    ("data", "options", "text"),
    [
        (IMAGES[:1], {}, "at least 2 images are needed, .* got 1"),
        (IMAGES, {"left_out": 40}, "left_out: must be below the 40 images"),
        ([(torch.zeros(2, 3), torch.zeros(2))], {"whole_batches": True}, "give several batches"),
        (DataLoader(TensorDataset(IMAGES), batch_size=40, sampler=SubsetRandomSampler(range(40))), {}, "several"),
    ],
)
def test_too_little_data_is_refused(data, options, text):
    with pytest.raises(ValueError, match=text):
        prepared(data, **options)


def test_labels_are_left_where_they_are():
    class Label(Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            raise AssertionError("a label was read")

    batches = [(part, torch.zeros(len(part)).as_subclass(Label)) for part in IMAGES.split(7)]
    assert len(seen(prepared(batches), 5)) == 5
