"""Which code computes sums, and that Numba's loops give what torch's operations give."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from foad_plugins import ChannelStatistics, FOADWarning, channel_similarity, greedy_select
from foad_plugins.calibration.collect import calibrate
from foad_plugins.calibration.data import CalibrationData
from foad_plugins.calibration.observers import ChannelSet, HookPoint
from foad_plugins.criterion.gram import GramStatistics
from foad_plugins.criterion.kernels import dispatch, packed, panels
from foad_plugins.criterion.kernels.device_sums import device_sums

pytest.importorskip("numba", reason="needs the extra fast")


@pytest.fixture(autouse=True)
def _numba_however_small(monkeypatch):
    monkeypatch.setenv(dispatch.NUMBA_SWITCH, "1")


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    features = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).relu() * 10
    features[:, 10] = features[:, 3]
    features[:, [5, 7]] = 0
    features[0, 12] = features[0, 4] + 1e-4
    features[1, 16] = features[1, 15] * 1.02
    return features


def plainly(features: torch.Tensor) -> torch.Tensor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(dispatch.NUMBA_SWITCH, "0")
        return channel_similarity(features)


@pytest.mark.parametrize(
    "shape", [(5, 20, 5, 5), (3, 270, 2, 2), (4, 40), (2, 64, 40, 40), (9, 130, 7), (2, 17, 1, 6), (3, 100, 16, 16)]
)
def test_one_pass_and_many_give_the_same(shape):
    features = maps(*shape)
    one, many = channel_similarity(features), plainly(features)
    torch.testing.assert_close(one, many, atol=1e-6, rtol=0)
    assert greedy_select(one).kept == greedy_select(many).kept
    for similarity in (one, many):
        assert similarity[3, 10] == similarity[5, 7] == 1
        assert torch.equal(similarity[3], similarity[10])


@pytest.mark.parametrize("shape", [(8, 70, 3, 3), (8, 70, 2, 2), (8, 130, 9, 9)])
@pytest.mark.parametrize("threads", [1, 2])
def test_what_an_image_adds_depends_on_no_other(shape, threads):
    torch.set_num_threads(threads)
    features = maps(*shape)
    whole = channel_similarity(features)
    for split in (1, 3):
        apart = ChannelStatistics(shape[1])
        for part in features.flip(0).split(split):
            apart.update(part)
        assert torch.equal(apart.compute(), whole)


@pytest.mark.parametrize("layout", ["channels last", "every second", "a part of the channels"])
def test_maps_that_do_not_lie_in_one_piece(layout):
    features = maps(3, 80, 6, 12)
    if layout == "channels last":
        features = features.to(memory_format=torch.channels_last)
    else:
        features = features[..., ::2] if layout == "every second" else features[:, 2:60]
    torch.testing.assert_close(channel_similarity(features), channel_similarity(features.contiguous()))


def test_other_precisions_and_the_switch_use_torch(monkeypatch):
    assert dispatch.numba_sums(torch.empty(1, 2, 3)) is not None
    assert dispatch.numba_sums(torch.empty(1, 2, 3, dtype=torch.float64)) is None
    monkeypatch.setenv(dispatch.NUMBA_SWITCH, "0")
    assert dispatch.numba_sums(torch.empty(1, 2, 3)) is None


def test_without_numba_torch_is_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "foad_plugins.criterion.kernels.numba_loops", raising=False)
    assert dispatch._numba.__wrapped__() is None


def test_numba_is_used_where_the_work_is_worth_it(monkeypatch):
    monkeypatch.delenv(dispatch.NUMBA_SWITCH)
    small, large = torch.empty(4, 64, 3), torch.empty(1).expand(2**12, 2**10, 1)
    assert dispatch.numba_sums(small) is None
    assert dispatch.numba_sums(large) is not None
    with dispatch.estimated_work() as work:
        assert dispatch.numba_sums(large) is None
        work.pairs = 2**40
        assert dispatch.numba_sums(small) is not None
    assert dispatch.numba_sums(small) is None


class _Two(nn.Module):
    """Two convolutions that read one tensor."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.second(self.first(x).relu())


IMAGES = torch.randn(6, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def calibrated(data, **options):
    torch.manual_seed(0)
    model = _Two()
    channels = ChannelSet("first", 8, (HookPoint(model.second, "input"),))
    (similarity,), (gram,) = calibrate(model, CalibrationData(data, **options), [channels], [channels])
    return similarity, gram


@pytest.mark.parametrize("data", [[IMAGES] * 3, (batch for batch in [IMAGES] * 3)], ids=["known length", "generator"])
def test_a_calibration_is_worth_what_all_of_its_batches_are(monkeypatch, data):
    monkeypatch.delenv(dispatch.NUMBA_SWITCH)
    asked = []
    monkeypatch.setattr(dispatch, "_WORTH_IMPORTING", 3 * 6 * 8**2 // 2)
    monkeypatch.setattr(dispatch, "_numba", lambda: asked.append("numba"))
    calibrated(data)
    # Of a generator the length is unknown: only the last batch makes the work large enough.
    assert len(asked) == (3 if isinstance(data, list) else 1)


def test_a_small_step_does_not_import_numba():
    program = """
import sys, torch, torch_pruning as tp
from foad_plugins import FOADImportance
from torch import nn
model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1))
images = torch.randn(4, 3, 64, 64)
tp.pruner.MetaPruner(model, images[:1], importance=FOADImportance(images), pruning_ratio=0.5).step()
assert model[0].out_channels == 8
assert "numba" not in sys.modules
assert "foad_plugins.criterion.kernels.numba_loops" not in sys.modules
"""
    environment = {name: value for name, value in os.environ.items() if name != dispatch.NUMBA_SWITCH}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=300)


def test_where_triton_fails_torch_is_used_with_one_warning(monkeypatch):
    def fails(maps, sums, grams):
        raise RuntimeError("no C compiler")

    monkeypatch.setattr(panels, "triton_sums", lambda maps: None if dispatch._disabled else fails)
    monkeypatch.setattr(dispatch, "_disabled", [])
    features = maps(3, 20, 4, 4)
    with pytest.warns(FOADWarning, match="no C compiler.*FOAD_TRITON=0"):
        found = channel_similarity(features)
    assert torch.equal(channel_similarity(features), found)
    torch.testing.assert_close(found, plainly(features), atol=1e-6, rtol=0)


def test_triton_is_for_cuda_devices_only():
    assert dispatch.triton_sums(torch.empty(1, 2, 3)) is None


def test_products_of_one_launch_serve_both_statistics(monkeypatch):
    similarity, gram = calibrated([IMAGES, IMAGES + 1])
    launches = []

    def add(maps, sums, grams):
        launches.append(grams is not None)
        own = device_sums(maps)
        sums += own[0]
        if grams is not None:
            products = torch.einsum("ncl,ndl->cd", maps.double(), maps.double())
            packed.write_tiles(products, grams, 0)
        return own[1]

    monkeypatch.setattr(panels, "triton_sums", lambda maps: add)
    monkeypatch.setattr(GramStatistics, "update_async", lambda *_: pytest.fail("multiplied a second time"))
    again, together = calibrated([IMAGES, IMAGES + 1])
    assert launches == [True, True]
    assert together.samples == gram.samples
    torch.testing.assert_close(together.compute(), gram.compute(), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(again.compute(), similarity.compute(), atol=1e-6, rtol=0)


def test_without_a_writable_cache_there_is_one_warning(tmp_path):
    code = """
import torch, warnings
from foad_plugins import channel_similarity
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        channel_similarity(torch.rand(2, 4, 3, 3))
found = [one for one in caught if "Numba cannot be used" in str(one.message)]
assert len(found) == len(caught) == 1, [str(one.message) for one in caught]
"""
    package = tmp_path / "numba_without_cache"
    package.mkdir()
    (package / "sitecustomize.py").write_text(
        "import numba.core.caching as caching\n"
        "for kind in caching.CacheImpl._locator_classes:\n"
        "    kind.from_function = classmethod(lambda *args: None)\n"
    )
    path = os.pathsep.join([str(package), os.getcwd(), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "FOAD_NUMBA": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
