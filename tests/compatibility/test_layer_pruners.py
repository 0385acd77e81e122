"""Recurrent layers, and norms made of buffers: their input or channels are pruned together with the layers around."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from foad_plugins import FOADWarning, load_pruned, prune, save_pruned
from tests.adapters.prune.test_api import snapshot
from tests.helpers.seeds import SEED, generator

SERIES = torch.rand(16, 1, 8, 20, generator=generator())
IMAGES = torch.rand(32, 3, 16, 16, generator=generator())


class Recurrent(nn.Module):
    def __init__(self, kind=nn.GRU, **options):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 24, 3, padding=1)
        self.rnn = kind(24, 20, batch_first=True, **options)
        self.fc = nn.Linear(40 if options.get("bidirectional") else options.get("proj_size", 20), 5)

    def sequence(self, x):
        return self.c2(self.c1(x).relu()).relu().mean(2).transpose(1, 2)

    def forward(self, x):
        return self.fc(self.rnn(self.sequence(x))[0])


class Packed(Recurrent):
    def forward(self, x):
        packed = pack_padded_sequence(self.sequence(x), [20] * len(x), batch_first=True)
        return self.fc(pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0])


class Added(Recurrent):
    """The output of the recurrent layer is added to that of a convolution."""

    def __init__(self):
        super().__init__()
        self.c3 = nn.Conv2d(16, 20, 1)

    def forward(self, x):
        return self.fc(self.rnn(self.sequence(x))[0] + self.c3(self.c1(x).relu()).mean(2).transpose(1, 2))


class First(Added):
    """The recurrent layer gets the input itself."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(8, 20, batch_first=True)

    def forward(self, x):
        return self.fc(self.rnn(x[:, 0].transpose(1, 2))[0] + self.c3(self.c1(x).relu()).mean(2).transpose(1, 2))


class LastState(Recurrent):
    def forward(self, x):
        return self.fc(self.rnn(self.sequence(x))[1][-1])


RECURRENT = {
    "gru": Recurrent,
    "lstm": lambda: Recurrent(nn.LSTM),
    "rnn": lambda: Recurrent(nn.RNN),
    "two layers": lambda: Recurrent(num_layers=2),
    "bidirectional": lambda: Recurrent(nn.LSTM, bidirectional=True, num_layers=2),
    "projected": lambda: Recurrent(nn.LSTM, proj_size=7),
    "packed": Packed,
    "last state": LastState,
    "added": Added,
}


def pruned(model, images, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FOADWarning)
        return prune(model, images, measure_latency=False, **options)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", RECURRENT)
def test_what_feeds_recurrent_layers_is_pruned_and_their_own_width_is_kept(name, tmp_path):
    torch.manual_seed(SEED)
    model = RECURRENT[name]().eval()
    report = pruned(model, SERIES, pruning_ratio=0.5)
    assert (model.c1.out_channels, model.c2.out_channels, model.rnn.input_size) == (8, 12, 12)
    assert model.rnn.hidden_size == 20
    assert {group.verification for group in report.groups} == {"verified"}
    assert any("'rnn' keep the width of their output" in note for note in report.notes)
    model(SERIES).sum().backward()
    save_pruned(model, tmp_path / "small")
    again = load_pruned(RECURRENT[name], tmp_path / "small").eval()
    assert torch.equal(again(SERIES), model(SERIES))


def test_a_recurrent_layer_in_front():
    model = First().eval()
    pruned(model, SERIES, pruning_ratio=0.5)
    assert (model.c1.out_channels, model.c3.out_channels, model.rnn.input_size) == (8, 20, 8)
    assert model(SERIES).shape == (16, 20, 5)


def test_a_dry_run_leaves_recurrent_layers_unchanged():
    model = Recurrent().eval()
    before, weights = snapshot(model), model.rnn._flat_weights[0]
    pruned(model, SERIES, params=0.8, dry_run=True)
    assert snapshot(model) == before
    assert model.rnn._flat_weights[0] is weights


class Affine(nn.Module):
    """Plain tensors, shaped for images, beside a parameter."""

    def __init__(self, width):
        super().__init__()
        self.num_features = width
        self.scale = torch.rand(1, width, 1, 1) + 0.5
        self.shift = nn.Parameter(torch.rand(width))

    def forward(self, x):
        return x * self.scale + self.shift[:, None, None]


class Frozen(nn.Module):
    """As torchvision's FrozenBatchNorm2d, and as copies of it in other projects."""

    def __init__(self, width):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(width) + 0.5)

    def forward(self, x):
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return x * scale[:, None, None] + (self.bias - self.running_mean * scale)[:, None, None]


class Table(nn.Module):
    """A buffer along the height of the image, as long as there are channels elsewhere."""

    def __init__(self, height):
        super().__init__()
        self.register_buffer("table", torch.rand(height, 1))

    def forward(self, x):
        return x + self.table


class Normed(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.c1, self.n1, self.c2, self.n2 = nn.Conv2d(3, 16, 3), norm(16), nn.Conv2d(16, 16, 1), norm(16)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.n1(self.c1(x)).relu()
        return self.head((x + self.n2(self.c2(x)).relu()).mean((2, 3)))


@pytest.mark.parametrize("norm", [Frozen, Affine])
def test_norms_of_buffers_lose_the_channels_of_their_convolutions(norm, tmp_path):
    torch.manual_seed(SEED)
    model = Normed(norm).eval()
    report = pruned(model, IMAGES, pruning_ratio=0.5)
    assert (model.c1.out_channels, model.c2.out_channels) == (8, 8)
    assert {group.verification for group in report.groups} == {"verified"}
    lengths = {max(value.shape) for value in vars(model.n2).values() if isinstance(value, torch.Tensor)}
    lengths |= {max(value.shape) for value in (*model.n2.buffers(), *model.n2.parameters())}
    assert lengths == {8}
    assert getattr(model.n2, "num_features", 8) == 8
    if norm is Frozen:
        save_pruned(model, tmp_path / "small")
        again = load_pruned(lambda: Normed(norm), tmp_path / "small").eval()
        assert torch.equal(again(IMAGES), model(IMAGES))


def test_a_buffer_along_another_axis_is_kept():
    class Tabled(Normed):
        def forward(self, x):
            x = self.n1(self.c1(x)).relu()
            return self.head(self.n2(self.c2(x)).mean((2, 3)))

    model = Tabled(lambda width: Table(14)).eval()
    pruned(model, IMAGES, pruning_ratio=0.5)
    assert (model.c1.out_channels, model.c2.out_channels, len(model.n1.table)) == (8, 8, 14)


def test_a_dry_run_leaves_buffers_unchanged():
    model = Normed(Frozen).eval()
    before = snapshot(model)
    pruned(model, IMAGES, pruning_ratio=0.5, dry_run=True)
    assert snapshot(model) == before


def test_a_resnet_with_frozen_norms():
    models, ops = pytest.importorskip("torchvision.models"), pytest.importorskip("torchvision.ops")
    model = models.resnet18(norm_layer=ops.FrozenBatchNorm2d).eval()
    images = torch.rand(8, 3, 32, 32, generator=generator())
    report = pruned(model, images, params=0.5, order="rounds", compensate="least_squares")
    assert report.params_after == pytest.approx(0.5 * report.params_before, rel=0.02)
    assert {group.verification for group in report.groups if group.selection.removed} == {"verified"}
    assert not [note for note in report.notes if "more images would help" not in note]


@pytest.mark.slow
def test_a_detector_with_frozen_norms():
    detection = pytest.importorskip("torchvision.models.detection")
    norm = pytest.importorskip("torchvision.ops").FrozenBatchNorm2d
    torch.manual_seed(SEED)
    resnet = pytest.importorskip("torchvision.models").resnet50(norm_layer=norm)
    backbone = detection.backbone_utils._resnet_fpn_extractor(resnet, 5)
    model = detection.FasterRCNN(backbone, num_classes=5, min_size=96, max_size=96).eval()
    images = torch.rand(2, 3, 96, 96, generator=generator())
    report = pruned(model, images, params=0.7, order="rounds")
    assert report.params_after == pytest.approx(0.7 * report.params_before, rel=0.02)
    assert model.backbone.body.conv1.out_channels < 64
    assert len(model(images)) == 2
