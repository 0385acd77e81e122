from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from foad_plugins.calibration.split import FitPart, measured_part


def images(count):
    return torch.arange(count, dtype=torch.float32)[:, None].repeat(1, 3)


def numbers(calls):
    return [int(value) for call in calls for value in call.args[0][:, 0]]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 64])
@pytest.mark.parametrize("count", [2, 3, 8, 17])
def test_every_image_is_in_one_part(count, size):
    data = list(images(count).split(size))
    fitted, measured = numbers(FitPart(data)), numbers(measured_part(data))
    assert sorted(fitted + measured) == list(range(count))
    assert measured == list(range(1, count, 4))


@pytest.mark.parametrize(
    "data",
    [
        images(9),
        (images(9),),
        [images(9)],
        [(images(9), torch.arange(9))],
        DataLoader(TensorDataset(images(9), torch.arange(9)), batch_size=4),
    ],
)
def test_forms_of_data(data):
    assert numbers(measured_part(data)) == [1, 5]
    assert numbers(FitPart(data)) == [0, 2, 3, 4, 6, 7, 8]


def test_all_inputs_and_labels_are_cut_alike():
    batch = ({"x": images(6), "y": images(6) + 1, "scale": 2.0}, torch.arange(6))
    call = measured_part([batch])[0]
    assert call.kwargs["x"][:, 0].tolist() == [1, 5]
    assert call.kwargs["y"][:, 0].tolist() == [2, 6]
    assert call.kwargs["scale"] == 2.0
    inputs, labels = call.batch
    assert torch.equal(inputs["x"], call.kwargs["x"])
    assert labels.tolist() == [1, 5]


def test_a_forward_fn_gets_the_batch_in_the_form_of_the_data():
    call = measured_part((images(6), images(6)))[0]
    assert isinstance(call.batch, tuple)
    assert [len(part) for part in call.batch] == [2, 2]
    assert len(call.args) == 2


def test_batches_that_cannot_be_divided_are_taken_whole():
    data = [((images(3), images(2)), number) for number in range(6)]
    assert [call.batch[1] for call in measured_part(data, None)] == [1, 5]
    assert [call.batch[1] for call in FitPart(data)] == [0, 2, 3, 4]


def test_no_more_batches_than_asked_for():
    data = list(images(32).split(4))
    assert numbers(measured_part(data, None, 2)) == [1, 5]
    assert numbers(FitPart(data, None, 2)) == [0, 2, 3, 4, 6, 7]


def test_the_part_to_fit_on_can_be_read_again():
    part = FitPart(images(8))
    assert numbers(part) == numbers(part)


@pytest.mark.parametrize("data", [images(1), [((images(3), images(2)), 0)]])
def test_a_single_image_is_refused(data):
    with pytest.raises(ValueError, match="single image.*at least two"):
        measured_part(data)
