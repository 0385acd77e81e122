from __future__ import annotations

import copy
import json
import random
import time

import pytest
import safetensors.torch
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import FOADPruner
from foad_plugins.adapters.checkpoint.api import CheckpointError, load_pruned, save_pruned
from foad_plugins.adapters.checkpoint.file import encode, read_checkpoint
from foad_plugins.adapters.checkpoint.layers import layer_problem
from tests.adapters.checkpoint.test_file import corrupted
from tests.adapters.prune.test_api import snapshot
from tests.helpers.saved import outputs, pruned
from tests.helpers.seeds import SEED, generator
from tests.networks.small_networks import Chain, Concat, Residual, Tokens, seeded_norms

IMAGES = torch.rand(6, 3, 8, 8, generator=generator())
NETWORKS = [Chain, Residual, Concat, lambda: Chain(groups=4), lambda: Chain(norm="group")]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "small.safetensors"


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("given", ["network", "factory"])
def test_a_loaded_model_is_the_saved_one(network, given, path):
    model = pruned(seeded_norms(network()), IMAGES, neighbors=2)
    state = snapshot(model)
    assert save_pruned(model, str(path)) == path
    assert snapshot(model) == state
    fresh = network()
    loaded = load_pruned(fresh if given == "network" else network, path)
    assert (loaded is fresh) == (given == "network")
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))
    assert repr(loaded) == repr(model)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    save_pruned(loaded, path.parent / "again")
    assert (path.parent / "again").read_bytes() == path.read_bytes()


def test_pruned_fine_tuned_and_pruned_again_before_and_after_loading(path):
    model = pruned(seeded_norms(Chain()), IMAGES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()(IMAGES).square().sum().backward()
    optimizer.step()
    pruned(model, IMAGES, neighbors=2)
    save_pruned(copy.deepcopy(model), path)
    loaded = load_pruned(Chain, path)
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))
    pruned(loaded, IMAGES, neighbors=3)
    save_pruned(loaded, path)
    assert torch.equal(outputs(load_pruned(Chain, path), IMAGES), outputs(loaded, IMAGES))


class Volumes(nn.Module):
    """Convolutions of one, two and three dimensions, forward and transposed, with PReLU."""

    def __init__(self):
        super().__init__()
        self.volume = nn.Conv3d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm3d(8)
        self.back = nn.ConvTranspose3d(8, 6, 2, 2)
        self.maps = nn.Conv2d(6, 12, 3)
        self.act = nn.PReLU(12)
        self.grow = nn.ConvTranspose2d(12, 10, 2)
        self.line = nn.Conv1d(10, 8, 3)
        self.widen = nn.ConvTranspose1d(8, 6, 3)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = self.back(self.norm(self.volume(x)).relu()).mean(2)
        return self.fc(self.widen(self.line(self.grow(self.act(self.maps(x))).mean(2)).relu()).mean(2))


class Attention(nn.Module):
    """A block of attention on tokens of a linear layer."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.attend = nn.MultiheadAttention(16, 4, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = self.embed(x)
        return self.head(self.norm(x + self.attend(x, x, x)[0]))


class Recurrent(nn.Module):
    """A recurrent layer behind a linear layer."""

    def __init__(self, kind=nn.LSTM):
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.cells = kind(16, 8, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.cells(self.embed(x).relu())[0])


def meta_pruned(model, inputs, **options):
    """The model, pruned in place by half of its channels, by Torch-Pruning alone."""
    kept = [layer for name, layer in model.named_children() if name in ("fc", "last", "head", "heads")]
    tp.pruner.MetaPruner(
        model,
        (inputs,),
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=kept,
        in_channel_groups={},
        out_channel_groups={},
        num_heads={layer: layer.num_heads for layer in model.modules() if isinstance(layer, nn.MultiheadAttention)},
        **options,
    ).step()
    return model


@pytest.mark.parametrize(
    ("network", "inputs"),
    [
        *((network, IMAGES) for network in NETWORKS),
        (Tokens, torch.rand(6, 7, 6, generator=generator(1))),
        (Volumes, torch.rand(2, 3, 4, 4, 4, generator=generator(2))),
    ],
)
def test_pruned_by_torch_pruning(network, inputs, path):
    model = meta_pruned(seeded_norms(network()).eval(), inputs)
    assert sum(map(torch.numel, model.parameters())) < 0.6 * sum(map(torch.numel, network().parameters()))
    save_pruned(model, path, original=network)
    assert torch.equal(outputs(load_pruned(network, path), inputs), outputs(model, inputs))


def test_attention(path):
    model = Attention()
    graph = tp.DependencyGraph().build_dependency(model, torch.rand(2, 5, 6))
    graph.get_pruning_group(model.embed, tp.prune_linear_out_channels, [0, 5, 10, 15]).prune()
    assert model.attend.embed_dim == 12
    save_pruned(model, path, original=Attention)
    loaded = load_pruned(Attention, path)
    assert (loaded.attend.embed_dim, loaded.attend.head_dim, loaded.norm.normalized_shape) == (12, 3, (12,))
    assert torch.equal(outputs(loaded, torch.ones(2, 5, 6)), outputs(model, torch.ones(2, 5, 6)))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_inputs_of_recurrent_layers(kind, path):
    model = Recurrent(kind)
    model.embed = nn.Linear(6, 10)
    small = kind(10, 8, num_layers=2, batch_first=True, bidirectional=True)
    model.cells.input_size = 10
    for name, parameter in small.named_parameters():
        setattr(model.cells, name, parameter)
    save_pruned(model, path)
    loaded = load_pruned(lambda: Recurrent(kind), path)
    assert loaded.cells.input_size == 10
    assert torch.equal(outputs(loaded, torch.ones(2, 5, 6)), outputs(model, torch.ones(2, 5, 6)))


def _normalized(width, norm):
    return nn.Sequential(norm(nn.Conv2d(3, width, 3)), nn.ReLU(), norm(nn.Conv2d(width, 4, 3)))


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "norm",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
    ],
)
def test_layers_whose_weights_are_computed(norm, path):
    model = _normalized(5, norm)
    outputs(model, IMAGES)
    save_pruned(model, path)
    narrower = _normalized(4, norm).train()
    before = snapshot(narrower)
    with pytest.raises(CheckpointError, match="does not fit"):
        load_pruned(narrower, path)
    assert snapshot(narrower) == before
    loaded = load_pruned(_normalized(8, norm), path)
    assert loaded[0].out_channels == 5
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))


@pytest.mark.filterwarnings("ignore")
def test_pruned_by_speedup_of_nni(path):
    pytest.importorskip("nni")
    from nni.compression.speedup import ModelSpeedup

    model = seeded_norms(Chain()).eval()
    pruner = FOADPruner(model, [{"op_names": ["conv1", "conv2"], "sparse_ratio": 0.5}], data=IMAGES)
    _, masks = pruner.compress()
    pruner.unwrap_model()
    ModelSpeedup(model, IMAGES, masks).speedup_model()
    assert model.conv1.out_channels == 4
    save_pruned(model, path, original=Chain)
    assert torch.equal(outputs(load_pruned(Chain, path), IMAGES), outputs(model, IMAGES))


def test_the_fresh_network_decides_on_mode_and_frozen_parameters(path):
    model = pruned(seeded_norms(Chain()), IMAGES)
    model.requires_grad_(False)
    save_pruned(model, path)
    fresh = Chain()
    fresh.conv1.requires_grad_(False)
    fresh.norm1.eval()
    loaded = load_pruned(fresh, path)
    trained = {name for name, parameter in loaded.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in loaded.named_parameters()} - {"conv1.weight", "conv1.bias"}
    assert (loaded.training, loaded.norm1.training) == (True, False)


def test_another_dtype_is_refused_with_the_cure(path):
    model = pruned(seeded_norms(Chain()), IMAGES).bfloat16()
    save_pruned(model, path)
    with pytest.raises(CheckpointError, match="is bfloat16, and float32 in the network: cast the network first"):
        load_pruned(Chain, path)
    loaded = load_pruned(Chain().bfloat16(), path)
    assert torch.equal(outputs(loaded, IMAGES.bfloat16()), outputs(model, IMAGES.bfloat16()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_fresh_network_decides_on_the_device(path):
    model = pruned(seeded_norms(Chain()).cuda(), IMAGES)
    save_pruned(model, path)
    loaded = load_pruned(Chain().cuda(), path)
    assert {tensor.device.type for tensor in loaded.state_dict().values()} == {"cuda"}
    assert torch.equal(outputs(loaded, IMAGES.cuda()), outputs(model, IMAGES.cuda()))
    assert {tensor.device.type for tensor in load_pruned(Chain, path).state_dict().values()} == {"cpu"}


class _Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.first = nn.Linear(5, 5)
        self.second = nn.Linear(5, 5)
        self.head = nn.Linear(8, 5)
        self.again = self.first

    def tie(self):
        self.second.weight = self.first.weight
        return self

    def forward(self, x):
        return self.again(self.second(self.first(self.head(self.conv(x).relu().mean((2, 3))))))


@pytest.mark.parametrize("fresh", [_Tied, lambda: _Tied().tie()])
def test_shared_tensors_are_stored_once_and_shared_again(fresh, path):
    model = pruned(_Tied().tie(), IMAGES, ignored_layers=["first", "second", "head"])
    assert model.conv.out_channels < 8
    save_pruned(model, path)
    assert "second.weight" not in read_checkpoint(path, 10**6)[1]
    loaded = load_pruned(fresh, path)
    assert loaded.second.weight is loaded.first.weight is loaded.again.weight
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))


def test_separate_tensors_are_not_shared_again(path):
    model = pruned(_Tied().tie(), IMAGES, ignored_layers=["first", "second", "head"])
    model.second.weight = nn.Parameter(model.second.weight.detach() + 1)
    save_pruned(model, path)
    loaded = load_pruned(_Tied().tie(), path)
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))


def test_a_bias_that_only_the_pruned_model_has(path):
    network = lambda: nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), nn.Conv2d(8, 4, 3, bias=False))  # noqa: E731
    model = pruned(network(), IMAGES)
    model[2].bias = nn.Parameter(torch.rand(4))
    save_pruned(model, path)
    loaded = load_pruned(network, path)
    assert loaded[2].bias.requires_grad
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))


class _Scaled(Chain):
    """Has a float, a list and a plain tensor that a user changes after pruning."""

    def __init__(self):
        super().__init__()
        self.scale, self.parts, self.offset, self.register = 0.5, [2, 6], torch.zeros(8), (8, 4)
        self.register_buffer("table", torch.ones(8), persistent=False)

    def forward(self, x):
        self.seen = tuple(x.shape)
        return super().forward(x * self.scale)


def test_what_integers_do_not_show_is_refused_in_words(path):
    model = _Scaled()
    model.register, model.table = (3, 2), torch.zeros(3)
    outputs(model, IMAGES)
    save_pruned(model, path, original=_Scaled)
    loaded = load_pruned(_Scaled, path)
    assert (loaded.register, loaded.table.tolist(), hasattr(loaded, "seen")) == ((3, 2), [0, 0, 0], False)
    for attribute, value in (("scale", 0.25), ("parts", [1, 2]), ("offset", torch.zeros(3))):
        model = _Scaled()
        setattr(model, attribute, value)
        save_pruned(model, path)
        with pytest.raises(CheckpointError, match=f"'{attribute}' is .* only integers are set"):
            load_pruned(_Scaled, path)
        with pytest.raises(CheckpointError, match="cannot be saved: .* only integers are set"):
            save_pruned(model, path, original=_Scaled())


class _WithState(Chain):
    def get_extra_state(self):
        return "text"

    def set_extra_state(self, state):
        pass


def test_what_cannot_be_saved(path, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        save_pruned(Chain(), tmp_path / "missing" / "x")
    with pytest.raises(CheckpointError, match="extra state"):
        save_pruned(_WithState(), path)
    with pytest.raises(CheckpointError, match="on the meta device"):
        save_pruned(Chain().to("meta"), path)
    with pytest.raises(CheckpointError, match="lazy"):
        save_pruned(nn.LazyLinear(3), path)
    with pytest.raises(CheckpointError, match="the network has no"):
        save_pruned(Chain(), path, original=Residual)
    with pytest.raises(TypeError, match="it gave int"):
        save_pruned(Chain(), path, original=lambda: 3)
    assert list(path.parent.iterdir()) == []


def test_other_networks_are_named_and_left_unchanged(path):
    save_pruned(pruned(seeded_norms(Chain()), IMAGES, neighbors=2), path)
    narrower = Chain()
    narrower.conv1 = nn.Conv2d(3, 2, 3)
    other_kernel = Chain()
    other_kernel.conv1 = nn.Conv2d(3, 8, 5)
    with torch.device("meta"):
        nowhere = Chain()
    for fresh, message in [
        (Residual(), "the network has no"),
        (nn.Sequential(Chain()), "the network has no"),
        (narrower, "'conv1.out_channels' is .* which pruning does not lead to"),
        (other_kernel, "'conv1.kernel_size' is .* which pruning does not lead to"),
        (nowhere, "on the meta device"),
    ]:
        before = repr(fresh), {name: id(value) for name, value in fresh.state_dict(keep_vars=True).items()}
        with pytest.raises(CheckpointError, match=message):
            load_pruned(fresh, path)
        assert before == (repr(fresh), {name: id(value) for name, value in fresh.state_dict(keep_vars=True).items()})
    with pytest.raises(TypeError, match="it gave int"):
        load_pruned(lambda: 3, path)


def _conv1(content):
    return content["attributes"]["conv1"]


def _replace(tensors, name, value):
    tensors[name] = value


def _share_a_parameter_as_a_buffer(content, tensors):
    del tensors["norm1.running_mean"]
    content["shared"]["norm1.running_mean"] = "norm1.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content, _: content.pop("shared"), "no entry 'shared'"),
        (lambda content, _: content.update(fixed=[]), "no entry 'fixed'"),
        (lambda content, _: content.update(attributes={"conv1": 3}), "no entry 'conv1'"),
        (lambda content, _: content["attributes"].update(conv9={}), "no module 'conv9'"),
        (lambda content, _: content.update(shared={"a": 1}), "cannot share"),
        (lambda content, _: content.update(shared={"a": []}), "cannot share"),
        (lambda content, _: content.update(shared={"a" * 10**6: "b"}), "cannot share|does not fit"),
        (lambda content, _: content.update(shared={"more": "conv1.weight"}), "no 'more'"),
        (_share_a_parameter_as_a_buffer, None),
        (lambda _, tensors: _replace(tensors, "norm1.bias", torch.ones(1)), "its bias has the shape"),
        (lambda content, _: _conv1(content).pop("out_channels"), "its weight has the shape"),
        (lambda content, _: _conv1(content).update(out_channels=0), "does not lead"),
        (lambda content, _: _conv1(content).update(out_channels=-1), "does not lead"),
        (lambda content, _: _conv1(content).update(out_channels=True), "is True"),
        (lambda content, _: _conv1(content).update(out_channels="3"), "is '3'"),
        (lambda content, _: _conv1(content).update(out_channels=[3]), r"is \(3,\)"),
        (lambda content, _: _conv1(content).update(out_channels=10**300), "does not lead"),
        (lambda content, _: _conv1(content).update(padding=[10**9, 10**9]), "does not lead"),
        (lambda content, _: _conv1(content).update(stride=[1]), "does not lead"),
        (lambda content, _: content["attributes"]["fc"].update(in_features=1), "its weight has the shape"),
        (lambda _, tensors: tensors.pop("conv1.weight"), "has no 'conv1.weight'"),
        (lambda _, tensors: _replace(tensors, "conv9.weight", torch.ones(1)), "no 'conv9.weight'"),
        (lambda _, tensors: _replace(tensors, "conv1.weight", torch.ones(0, 3, 3, 3)), "does not lead"),
        (lambda _, tensors: _replace(tensors, "conv1.bias", torch.ones(1, 1)), "does not lead"),
        (lambda _, tensors: _replace(tensors, "conv1.bias", torch.ones(1)), "its bias has the shape"),
        (lambda _, tensors: _replace(tensors, "norm1.running_var", torch.ones(1)), "its running_var has the shape"),
        *(
            (
                lambda _, tensors, name=name, dtype=dtype: _replace(tensors, name, tensors[name].to(dtype)),
                "cast the network",
            )
            for name in ("conv1.weight", "norm1.running_mean")
            for dtype in (torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float64, torch.float16)
        ),
        (lambda content, _: content["versions"].update(torch="0.1"), None),
    ],
)
def test_forged_files_with_a_right_digest(change, message, path):
    model = pruned(seeded_norms(Chain()), IMAGES)
    save_pruned(model, path)
    content, tensors = read_checkpoint(path, 10**6)
    change(content, tensors)
    path.write_bytes(encode(tensors, content))
    fresh = Chain()
    if message is None:
        load_pruned(fresh, path)
        return
    before, start = snapshot(fresh), time.process_time()
    with pytest.raises(CheckpointError, match=message) as caught:
        load_pruned(fresh, path)
    assert len(str(caught.value)) <= 200
    assert time.process_time() - start < 2
    assert snapshot(fresh) == before


@pytest.mark.parametrize("seed", range(2))
def test_no_damaged_file_is_loaded(seed, path):
    model = pruned(seeded_norms(Chain()), IMAGES)
    save_pruned(model, path)
    data, fresh = path.read_bytes(), Chain()
    before, damages = snapshot(fresh), 0
    for how, damaged in corrupted(data, seed):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=path.name):
            print(how, load_pruned(fresh, path))
        assert snapshot(fresh) == before
        damages += 1
    assert damages > 50
    path.write_bytes(data)
    assert torch.equal(outputs(load_pruned(fresh, path), IMAGES), outputs(model, IMAGES))


def test_the_header_is_json_that_anyone_can_read(path):
    save_pruned(pruned(Chain(), IMAGES), path)
    with safetensors.safe_open(path, "pt") as file:
        fields = json.loads(file.metadata()["foad_plugins"])
    assert fields["version"] == 2
    assert fields["content"]["attributes"]["conv1"]["in_channels"] == 3
    assert set(fields["content"]["versions"]) == {"foad-plugins", "torch", "torch-pruning"}


MODELS = {
    "resnet18": (),
    "mobilenet_v2": (),
    "mobilenet_v3_small": (),
    "vgg11_bn": pytest.mark.slow,
    "densenet121": pytest.mark.slow,
    "googlenet": (),
    "regnet_y_400mf": pytest.mark.slow,
    "efficientnet_b0": (),
    "convnext_tiny": pytest.mark.slow,
    "resnext50_32x4d": pytest.mark.slow,
    "vit_b_16": (),
}


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@pytest.mark.parametrize("name", [pytest.param(name, marks=marks) for name, marks in MODELS.items()])
def test_real_architectures(name, path):
    models = pytest.importorskip("torchvision.models")
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    options |= {"image_size": 64} if name.startswith("vit") else {}

    def network():
        return models.get_model(name, num_classes=10, **options).eval()

    images = torch.rand(2, 3, 64, 64)
    model = meta_pruned(network(), images)
    if name.startswith("vit"):
        model.hidden_dim = model.conv_proj.out_channels
    save_pruned(model, path)
    assert torch.equal(outputs(load_pruned(network, path), images), outputs(model, images))


_VALUES = (0, -1, 1, 7, 2**63, 10**300, True, None, 0.5, "a" * 10**5, [], [1], [1, 2], [[1]], {}, {"a": 1}, [0, 0])


def _forge(content, tensors, choose):
    """Replace, add or remove one value of the JSON at a random depth, or one tensor."""
    if choose.random() < 0.3:
        name = choose.choice(list(tensors))
        shape = [max(0, size + choose.choice((-1, 0, 1))) for size in tensors[name].shape]
        dtype = choose.choice((torch.float32, torch.int8, torch.complex64, torch.bool, torch.float16))
        tensors[choose.choice((name, f"{name}.more", "a" * 10**5))] = torch.ones(shape, dtype=dtype)
        return
    place = content
    while isinstance(place, dict) and place:
        key = choose.choice(list(place))
        if not isinstance(place[key], dict) or choose.random() < 0.3:
            place[choose.choice((key, key, "more"))] = choose.choice(_VALUES)
            return
        place = place[key]


def _refusal(network, path):
    try:
        load_pruned(network, path)
    except CheckpointError as error:
        return str(error)


@pytest.mark.parametrize("network", [Chain, lambda: Chain(groups=4), Attention, Recurrent, Volumes])
def test_random_forgeries_are_refused_in_time_or_give_a_network_whose_layers_fit(network, path):
    choose = random.Random(SEED)
    save_pruned(network(), path)
    content, tensors = read_checkpoint(path, 10**6)
    for number in range(25):
        changed, replaced = copy.deepcopy(content), dict(tensors)
        for _ in range(choose.randint(1, 3)):
            _forge(changed, replaced, choose)
        path.write_bytes(encode(replaced, changed))
        fresh, start = network(), time.process_time()
        before = snapshot(fresh)
        refusal = _refusal(fresh, path)
        assert time.process_time() - start < 2, number
        if refusal is not None:
            assert len(refusal) <= 200, number
            assert snapshot(fresh) == before
            continue
        assert all(layer_problem(module) is None for module in fresh.modules())
        assert all(0 not in tensor.shape for tensor in fresh.parameters())
