from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from foad_plugins import channel_similarity
from foad_plugins.calibration.collect import calibrate
from foad_plugins.calibration.data import CalibrationData
from foad_plugins.calibration.observers import ChannelSet, HookPoint
from tests.helpers.seeds import generator

IMAGES = torch.rand(6, 3, 8, 8, generator=generator())


class _Branches(nn.Module):
    """One tensor, read four ways: as it is, again, through a view, and after it was changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3)
        self.a = nn.Conv2d(5, 2, 1)
        self.b = nn.Conv2d(5, 2, 1)
        self.c = nn.Linear(5 * 36, 2)
        self.d = nn.Conv2d(5, 2, 1)

    def forward(self, x):
        x = self.first(x)
        out = self.a(x).sum() + self.b(x).sum() + self.c(x.flatten(1)).sum()
        return out + self.d(x.relu_()).sum()


def columns(width: int, each: int) -> torch.Tensor:
    return torch.arange(width * each).view(width, each)


def statistics_of(model, taps, channels, data=IMAGES, **options):
    return calibrate(model, CalibrationData(data, **options), [ChannelSet("test", channels, tuple(taps))])[0][0]


def test_one_tensor_counts_once_and_a_changed_one_again():
    model = _Branches()
    with torch.no_grad():
        maps = model.first(IMAGES)
    readers = [HookPoint(model.a, "input"), HookPoint(model.b, "input")]
    once = statistics_of(model, readers, 5)
    assert once.count == 6
    torch.testing.assert_close(once.compute(), channel_similarity(maps))
    both = statistics_of(model, [*readers, HookPoint(model.d, "input")], 5)
    assert both.count == 12
    mean = (channel_similarity(maps) + channel_similarity(maps.relu())) / 2
    torch.testing.assert_close(both.compute(), mean)


def test_flattened_maps_are_put_together_again():
    model = _Branches()
    with torch.no_grad():
        maps = model.first(IMAGES)
    seen = statistics_of(model, [HookPoint(model.c, "input", columns(5, 36))], 5)
    torch.testing.assert_close(seen.compute(), channel_similarity(maps))


def test_a_layer_called_twice_is_read_twice():
    layer = nn.Linear(4, 4)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(self.layer(input=x))

    tokens = torch.rand(5, 7, 4)
    seen = statistics_of(Twice(), [HookPoint(layer, "input")], 4, tokens)
    with torch.no_grad():
        mean = sum(channel_similarity(maps.transpose(1, 2)) for maps in (tokens, layer(tokens))) / 2
    assert seen.count == 10
    torch.testing.assert_close(seen.compute(), mean)


def test_batches_add_up_and_a_forward_function_calls_the_model():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    tap = HookPoint(model[2], "input")
    whole = statistics_of(model, [tap], 4).compute()
    loader = DataLoader(TensorDataset(IMAGES, torch.zeros(6)), batch_size=4)
    torch.testing.assert_close(statistics_of(model, [tap], 4, loader, progress=True).compute(), whole)
    seen = statistics_of(model, [tap], 4, [IMAGES[:2], IMAGES[2:]], forward_fn=lambda net, batch: net(batch))
    torch.testing.assert_close(seen.compute(), whole)
    assert statistics_of(model, [tap], 4, loader, max_batches=1).count == 4


@pytest.mark.parametrize(
    ("shape", "threads", "sizes"),
    [
        ((64, 3, 8, 8), 1, [64]),
        ((130, 3, 8, 8), 8, [44, 43, 43]),
        ((7, 3, 400, 300), 1, [2, 2, 2, 1]),
        ((7, 3, 400, 300), 2, [4, 3]),
    ],
)
def test_a_large_batch_runs_in_parts_of_equal_size(shape, threads, sizes, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    images, seen = torch.rand(*shape, generator=generator()), []
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    found = statistics_of(model, [HookPoint(model[1], "input")], 4, images)
    assert seen == sizes
    assert found.count == shape[0]
    with torch.no_grad():
        torch.testing.assert_close(found.compute(), channel_similarity(model[0](images)))


def test_a_stream_has_no_length():
    class Stream(IterableDataset):
        def __iter__(self):
            yield from IMAGES

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
    loader = DataLoader(Stream(), batch_size=3)
    assert statistics_of(model, [HookPoint(model[1], "input")], 4, loader, progress=True).count == 6


def test_a_layer_that_never_runs_is_not_seen():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert statistics_of(model, [HookPoint(nn.Conv2d(4, 2, 1), "input")], 4).count == 0


def test_outputs_can_be_read_and_lists_are_passed_over():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    with torch.no_grad():
        expected = channel_similarity(model.eval()(IMAGES))
    torch.testing.assert_close(statistics_of(model, [HookPoint(model[1], "output")], 4).compute(), expected)

    class Listing(nn.Conv2d):
        def forward(self, x):
            return [super().forward(x)]

    assert statistics_of(nn.Sequential(layer := Listing(3, 4, 3)), [HookPoint(layer, "output")], 4).count == 0


def test_bad_values_name_the_layer():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
    images = IMAGES.clone()
    images[2, 0, 3, 3] = float("nan")
    with pytest.raises(ValueError, match=r"at the input of layer '1': .*NaN"):
        statistics_of(model, [HookPoint(model[1], "input")], 4, images)


def test_a_single_image_is_not_a_batch():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
    with pytest.raises(ValueError, match="layer '0' got an input of 3 dimensions, without a batch dimension"):
        statistics_of(model, [HookPoint(model[1], "input")], 4, IMAGES[0])


def test_works_under_inference_mode():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
    tap = HookPoint(model[1], "input")
    expected = statistics_of(model, [tap], 4).compute()
    with torch.inference_mode():
        assert torch.equal(statistics_of(model, [tap], 4, IMAGES * 1).compute(), expected)
