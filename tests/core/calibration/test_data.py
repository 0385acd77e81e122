from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from foad_plugins.calibration.data import (
    CalibrationData,
    check_data,
    first_images,
    is_iterator,
    iter_calls,
    model_device,
)
from tests.helpers.seeds import generator

IMAGES = torch.rand(6, 3, 4, 4, generator=generator())


def test_a_tensor_is_one_batch():
    (call,) = iter_calls(IMAGES)
    assert call.args[0] is IMAGES
    assert call.batch is IMAGES
    assert call.kwargs == {}


def test_a_tuple_is_the_positional_and_a_dict_the_keyword_arguments():
    (call,) = iter_calls((IMAGES, 2.5))
    assert call.args == (IMAGES, 2.5)
    (call,) = iter_calls({"x": IMAGES, "scale": 2})
    assert call.args == ()
    assert call.kwargs["x"] is IMAGES


@pytest.mark.parametrize(
    "batch",
    [
        IMAGES,
        (IMAGES,),
        [IMAGES, torch.zeros(6)],
        (IMAGES, torch.zeros(6), "path"),
        ((IMAGES,), torch.zeros(6)),
    ],
)
def test_of_a_batch_with_labels_only_the_input_is_used(batch):
    first, second = iter_calls([batch, batch])
    assert first.args == (IMAGES,)
    assert second.batch is batch


def test_a_loader_gives_its_batches():
    loader = DataLoader(TensorDataset(IMAGES, torch.arange(6)), batch_size=4)
    assert [len(call.args[0]) for call in iter_calls(loader)] == [4, 2]
    assert [len(call.args[0]) for call in iter_calls(loader, max_batches=1)] == [4]
    (call,) = iter_calls([{"images": IMAGES}])
    assert set(call.kwargs) == {"images"}


def test_no_more_batches_are_read_than_used():
    read = []

    def batches():
        for number in range(5):
            read.append(number)
            yield IMAGES

    assert len(list(iter_calls(batches(), max_batches=2))) == 2
    assert read == [0, 1]


def test_everything_is_moved_to_the_device():
    pair = namedtuple("pair", ["image", "rest"])
    data = [((IMAGES, {"mask": IMAGES}, pair(IMAGES, [IMAGES, "text"])), 0)]
    (call,) = iter_calls(data, torch.device("meta"))
    image, rest, named = call.args
    assert image.is_meta
    assert rest["mask"].is_meta
    assert named.image.is_meta
    assert named.rest[0].is_meta
    assert named.rest[1] == "text"


def test_what_was_made_in_inference_mode_can_be_traced():
    with torch.inference_mode():
        images = IMAGES.clone()
    (call,) = iter_calls([(images, 0)], torch.device("cpu"))
    assert not call.args[0].is_inference()
    assert torch.equal(call.args[0], images)


class _Stream(IterableDataset):
    def __iter__(self):
        yield IMAGES


@pytest.mark.parametrize("data", ["images", b"images", np.zeros((2, 3)), 3, None, TensorDataset(IMAGES)])
def test_other_forms_are_refused(data):
    with pytest.raises(TypeError, match="data"):
        check_data(data)


def test_streams_are_data():
    check_data(_Stream())
    assert not is_iterator(_Stream())
    assert is_iterator(iter([IMAGES]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "gave no batch"),
        (DataLoader(TensorDataset(IMAGES[:0])), "gave no batch"),
        (IMAGES[:0], r"empty batch: shape \(0, 3, 4, 4\)"),
        ([(IMAGES[:0], torch.zeros(0))], "empty batch"),
        ([()], "empty tuple"),
        (torch.tensor(1.0), "without a batch dimension"),
        ({"x": torch.tensor(1.0)}, "without a batch dimension"),
    ],
)
def test_empty_data_is_an_error(data, message):
    with pytest.raises(ValueError, match=message):
        list(iter_calls(data))


def test_a_batch_of_another_type_is_an_error():
    with pytest.raises(TypeError, match="a batch was a str"):
        list(iter_calls([("text", 1)]))


def test_device_of_a_model():
    assert model_device(nn.Linear(1, 1, device="meta")) == torch.device("meta")
    assert model_device(nn.BatchNorm1d(2, affine=False)) == torch.device("cpu")
    assert model_device(nn.ReLU()) is None


def test_one_image_cuts_what_agrees():
    (call,) = iter_calls((IMAGES, torch.zeros(6), 3))
    assert [len(value) for value in first_images(call).args[:2]] == [1, 1]
    (call,) = iter_calls({"x": IMAGES})
    assert len(first_images(call).kwargs["x"]) == 1
    (call,) = iter_calls((IMAGES, torch.zeros(2)))
    assert first_images(call) is call


def test_calibration_data_gives_calls_and_the_first_images():
    data = CalibrationData(list(IMAGES.split(2)), max_batches=2)
    assert [len(call.args[0]) for call in data.calls()] == [2, 2]
    assert torch.equal(data.first().batch, IMAGES[:2])
    assert torch.equal(data.first(images=1).args[0], IMAGES[:1])
    assert data.reusable() is data
    assert data.peek()[1] is data


def test_an_iterator_loses_no_batch_to_peek_and_is_kept_by_reusable():
    first, data = CalibrationData(iter(IMAGES.split(2))).peek()
    assert torch.equal(first.batch, IMAGES[:2])
    kept = data.reusable()
    for _ in range(2):
        assert torch.equal(torch.cat([call.batch for call in kept.calls()]), IMAGES)
    limited = CalibrationData(iter(IMAGES.split(2)), max_batches=1).reusable()
    assert len(list(limited.calls())) == 1


def test_a_call_runs_the_model_or_the_forward_function():
    (call,) = iter_calls([(IMAGES, 7)])
    model = nn.Identity()
    assert call.run(model) is call.args[0]
    assert call.run(model, lambda network, batch: (network, batch[1])) == (model, 7)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_batches": 0}, ValueError, "max_batches must be None or at least 1, got 0"),
        ({"max_batches": 1.5}, TypeError, "max_batches must be None or an integer"),
        ({"forward_fn": 3}, TypeError, "forward_fn must be callable"),
    ],
)
def test_wrong_calibration_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        CalibrationData(IMAGES, **options)
