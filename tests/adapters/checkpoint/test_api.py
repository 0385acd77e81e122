from __future__ import annotations

import copy
import json

import pytest
import safetensors.torch
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import FOADImportance
from foad_plugins.adapters.checkpoint.api import CheckpointError, load_pruned, save_pruned
from foad_plugins.adapters.checkpoint.file import read_checkpoint, write_sealed
from foad_plugins.adapters.checkpoint.history import attach, describe, history_of
from tests.adapters.checkpoint.test_file import corrupted
from tests.adapters.prune.test_api import snapshot
from tests.helpers.saved import outputs, pruned
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, Concat, Residual, Tokens, seeded_norms

IMAGES = torch.rand(6, 3, 8, 8, generator=generator())
NETWORKS = [Chain, Residual, Concat, lambda: Chain(groups=4), lambda: Chain(norm="group")]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "small.safetensors"


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("given", ["network", "factory"])
def test_a_model_comes_back(network, given, path):
    model = pruned(seeded_norms(network()), IMAGES, neighbors=2)
    state, noted = snapshot(model), history_of(model)
    assert save_pruned(model, str(path)) == path
    assert snapshot(model) == state
    fresh = network()
    loaded = load_pruned(fresh if given == "network" else network, path)
    assert (loaded is fresh) == (given == "network")
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))
    assert repr(loaded) == repr(model)
    assert history_of(loaded) == noted
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    save_pruned(loaded, path.parent / "again")
    assert (path.parent / "again").read_bytes() == path.read_bytes()


def test_tokens(path):
    tokens = torch.rand(6, 7, 6)
    model = pruned(Tokens(), tokens)
    save_pruned(model, path)
    assert torch.equal(outputs(load_pruned(Tokens, path), tokens), outputs(model, tokens))


def test_pruned_fine_tuned_and_pruned_again_before_and_after_loading(path):
    model = pruned(seeded_norms(Chain()), IMAGES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()(IMAGES).square().sum().backward()
    optimizer.step()
    pruned(model, IMAGES, neighbors=2)
    save_pruned(model, path)
    loaded = load_pruned(Chain, path)
    assert len(history_of(loaded).steps) == 2
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))
    pruned(loaded, IMAGES, neighbors=3)
    save_pruned(loaded, path)
    assert torch.equal(outputs(load_pruned(Chain, path), IMAGES), outputs(loaded, IMAGES))


@pytest.mark.parametrize("network", [Chain, Residual])
def test_pruned_to_a_target_in_steps_with_compensation(network, path):
    images = torch.rand(64, 3, 8, 8)
    model = pruned(seeded_norms(network()), images, params=0.6, steps=2)
    assert len(history_of(model).steps) == 2
    save_pruned(model, path)
    assert torch.equal(outputs(load_pruned(network, path), images), outputs(model, images))


def test_a_copy_can_be_saved_and_a_model_that_lost_nothing(path):
    model = Chain()
    for norm in (model.norm1, model.norm2):
        # Maps of zeros alone would be equal.
        norm.bias.data += 10
    with pytest.warns(UserWarning, match="nothing was pruned"):
        pruned(model, IMAGES, threshold=1.0)
    save_pruned(copy.deepcopy(model), path)
    assert torch.equal(outputs(load_pruned(Chain, path), IMAGES), outputs(model, IMAGES))


def test_the_fresh_network_decides_on_mode_and_frozen_parameters_and_the_file_on_dtypes(path):
    model = pruned(seeded_norms(Chain()), IMAGES).bfloat16()
    model.requires_grad_(False)
    save_pruned(model, path)
    fresh = Chain()
    fresh.conv1.requires_grad_(False)
    fresh.norm1.eval()
    loaded = load_pruned(fresh, path)
    assert {name: tensor.dtype for name, tensor in loaded.state_dict().items()} == {
        name: tensor.dtype for name, tensor in model.state_dict().items()
    }
    trained = {name for name, parameter in loaded.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in loaded.named_parameters()} - {"conv1.weight", "conv1.bias"}
    assert (loaded.training, loaded.norm1.training) == (True, False)
    assert torch.equal(outputs(loaded, IMAGES.bfloat16()), outputs(model, IMAGES.bfloat16()))
    assert torch.equal(
        outputs(load_pruned(Chain().double(), path), IMAGES.bfloat16()), outputs(model, IMAGES.bfloat16())
    )


@pytest.mark.parametrize(("pruned_in", "loaded_in"), [("bfloat16", "float32"), ("float32", "float64")])
def test_the_fresh_network_may_have_another_dtype_than_the_original(pruned_in, loaded_in, path):
    model = seeded_norms(Chain()).to(getattr(torch, pruned_in))
    images = IMAGES.to(getattr(torch, pruned_in))
    save_pruned(pruned(model, images), path)
    loaded = load_pruned(Chain().to(getattr(torch, loaded_in)), path)
    assert torch.equal(outputs(loaded, images), outputs(model, images))


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
    assert "second.weight" not in read_checkpoint(path)[1]
    loaded = load_pruned(fresh, path)
    assert loaded.second.weight is loaded.first.weight is loaded.again.weight
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))


def test_tensors_that_were_parted_stay_parted(path):
    model = pruned(_Tied().tie(), IMAGES, ignored_layers=["first", "second", "head"])
    model.second.weight = nn.Parameter(model.second.weight.detach() + 1)
    save_pruned(model, path)
    loaded = load_pruned(_Tied().tie(), path)
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))


def test_a_bias_that_the_pruned_model_has_and_the_fresh_one_has_not(path):
    network = lambda: nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), nn.Conv2d(8, 4, 3, bias=False))  # noqa: E731
    model = pruned(network(), IMAGES)
    noted = history_of(model)
    model[2].bias = nn.Parameter(torch.rand(4))
    with pytest.raises(CheckpointError, match=r"'2\.bias' is there in addition"):
        save_pruned(model, path)
    attach(model, type(noted)(noted.original, describe(model), noted.example, noted.steps))
    save_pruned(model, path)
    loaded = load_pruned(network, path)
    assert loaded[2].bias.requires_grad
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))


class _Named(Chain):
    def forward(self, pixels, scale=1):
        return super().forward(pixels * scale)


def test_keyword_arguments_and_a_forward_function(path):
    model = pruned(seeded_norms(_Named()), {"pixels": IMAGES, "scale": 2})
    save_pruned(model, path)
    assert torch.equal(outputs(load_pruned(_Named, path), IMAGES), outputs(model, IMAGES))

    def forward(network, batch):
        return network(batch["pixels"] / 255)

    model = pruned(seeded_norms(Chain()), [{"pixels": IMAGES * 255}], forward_fn=forward)
    save_pruned(model, path)
    assert torch.equal(outputs(load_pruned(Chain, path, forward_fn=forward), IMAGES), outputs(model, IMAGES))
    loaded = load_pruned(Chain, path, forward_fn=forward, example_inputs=[{"pixels": IMAGES}])
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))


class _Boxes:
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)


def test_inputs_that_cannot_be_made_again_are_asked_for(path):
    def forward(network, batch):
        return network(batch[1].images)

    model = pruned(seeded_norms(Chain()), [(IMAGES, _Boxes(IMAGES))], forward_fn=forward)
    save_pruned(model, path)
    fresh = Chain()
    before = snapshot(fresh)
    with pytest.raises(CheckpointError, match="hold a _Boxes, which cannot be made again: pass example_inputs"):
        load_pruned(fresh, path, forward_fn=forward)
    assert snapshot(fresh) == before
    loaded = load_pruned(fresh, path, forward_fn=forward, example_inputs=[(IMAGES, _Boxes(IMAGES))])
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))


def _tp_pruned(model, steps=1, **options):
    pruner = tp.pruner.BasePruner(
        model,
        (IMAGES[:1],),
        importance=FOADImportance(IMAGES),
        pruning_ratio=0.5,
        iterative_steps=steps,
        ignored_layers=[layer for name, layer in model.named_children() if name in ("fc", "last")],
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
        **options,
    )
    for _ in range(steps):
        pruner.step()
    return pruner


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", [{}, {"steps": 2}, {"global_pruning": True}])
def test_a_pruner_of_torch_pruning(network, options, path):
    model = seeded_norms(network())
    pruner = _tp_pruned(model, **options)
    before = snapshot(model)
    original = network()
    kept = snapshot(original)
    save_pruned(model, path, history=pruner.pruning_history(), original=original, example_inputs=IMAGES)
    assert snapshot(model) == before
    assert snapshot(original) == kept
    assert history_of(model) is None
    assert torch.equal(outputs(load_pruned(network, path), IMAGES), outputs(model, IMAGES))


def test_torch_pruning_behind_the_published_rule(path):
    model = pruned(seeded_norms(Chain()), IMAGES)
    pruner = _tp_pruned(model)
    with pytest.raises(CheckpointError, match="not what its pruning left: 'conv1.weight' is"):
        save_pruned(model, path)
    save_pruned(model, path, history=pruner.pruning_history(), original=Chain, example_inputs=IMAGES)
    loaded = load_pruned(Chain, path)
    assert len(history_of(loaded).steps) == 2
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))


def test_histories_that_do_not_lead_to_the_model(path):
    model = seeded_norms(Chain())
    history = _tp_pruned(model).pruning_history()
    inputs = {"original": Chain, "example_inputs": IMAGES}
    for wrong in (history[:1], [*history, history[0]], [["conv9", True, [0]]], [["conv1", True, [99]]]):
        with pytest.raises(CheckpointError, match="history does not lead from original to this model"):
            save_pruned(model, path, history=wrong, **inputs)
    for wrong in ([["conv1", True]], [3], [["conv1", True, [0, 0]]], [["conv1", True, ["a"]]]):
        with pytest.raises(CheckpointError, match="must be what a pruner's pruning_history"):
            save_pruned(model, path, history=wrong, **inputs)
    with pytest.raises(CheckpointError, match="does not lead"):
        save_pruned(model, path, history=history, original=Residual, example_inputs=IMAGES)
    with pytest.raises(TypeError, match="it gave int"):
        save_pruned(model, path, history=history, original=lambda: 3, example_inputs=IMAGES)
    with pytest.raises(TypeError, match="needs original"):
        save_pruned(model, path, history=history, example_inputs=IMAGES)
    with pytest.raises(TypeError, match="go with history"):
        save_pruned(model, path, original=Chain)
    assert list(path.parent.iterdir()) == []


class _WithState(Chain):
    def get_extra_state(self):
        return "text"

    def set_extra_state(self, state):
        pass


def test_what_cannot_be_saved(path, tmp_path):
    with pytest.raises(CheckpointError, match="nothing says how this model was pruned"):
        save_pruned(Chain(), path)
    part = nn.Sequential(pruned(Chain(), IMAGES), nn.ReLU())
    with pytest.raises(CheckpointError, match="Its part '0' was pruned by itself"):
        save_pruned(part, path)
    model = pruned(Chain(), IMAGES)
    with pytest.raises(FileNotFoundError, match="no folder"):
        save_pruned(model, tmp_path / "missing" / "x")
    model.fc = nn.Linear(model.fc.in_features, 7)
    with pytest.raises(CheckpointError, match=r"'fc.weight' is \(7, .* a new head, .* must be set before pruning"):
        save_pruned(model, path)
    with pytest.raises(CheckpointError, match="'_extra_state', which is a str and no tensor"):
        save_pruned(pruned(_WithState(), IMAGES), path)
    with pytest.raises(CheckpointError, match="on the meta device"):
        save_pruned(pruned(Chain(), IMAGES).to("meta"), path)
    assert list(path.parent.iterdir()) == []


def test_other_networks_are_named_and_left_alone(path):
    save_pruned(pruned(seeded_norms(Chain()), IMAGES), path)
    wider = Chain()
    wider.conv1 = nn.Conv2d(3, 9, 3)
    with torch.device("meta"):
        nowhere = Chain()
    for fresh, message in [
        (Residual(), "made for another network: 'conv1.weight' is missing; .* and [0-9]+ more"),
        (wider, r"another network: 'conv1.weight' is \(9, 3, 3, 3\) instead of \(8, 3, 3, 3\)"),
        (pruned(Chain(), IMAGES), "another network: .* It has been pruned before: give a fresh one"),
        (nowhere, "on the meta device"),
    ]:
        before = describe(fresh), repr(fresh)
        with pytest.raises(CheckpointError, match=message):
            load_pruned(fresh, path)
        assert (describe(fresh), repr(fresh)) == before
    with pytest.raises(TypeError, match="it gave int"):
        load_pruned(lambda: 3, path)


class _Reordered(Chain):
    """Has the layers of a chain and does something else with them."""

    def forward(self, x):
        return self.fc(self.norm2(self.conv2(x[:, :1].expand(-1, 8, -1, -1))).flatten(1)[:, :48])


def test_a_network_with_the_same_layers_that_prunes_otherwise_is_left_as_it_was(path):
    save_pruned(pruned(seeded_norms(Chain()), IMAGES), path)
    for fresh in (_Reordered(), _Raises()):
        before = snapshot(fresh)
        with pytest.raises(CheckpointError, match="pruned again|cannot be done again|cannot be traced"):
            load_pruned(fresh, path)
        assert snapshot(fresh) == before
        assert history_of(fresh) is None


class _Raises(Chain):
    def forward(self, x):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("shared"), "other entries"),
        (lambda content: content.update(more=1), "other entries"),
        (lambda content: content.update(shared={"a": 1}), "in another way"),
        (lambda content: content.update(shared={"a": "b"}), "cannot share"),
        (lambda content: content.update(versions=[]), "in another way"),
        (lambda content: content["history"]["pruned"].pop(), "do not agree"),
        (lambda content: content["history"]["steps"][0][0]["channels"].append(-1), "0 or more"),
        (lambda content: content["history"]["steps"][0][0]["channels"].append(99), "channels, to lose"),
        (lambda content: content["history"]["steps"][0].pop(), "has other shapes"),
        (lambda content: content["history"]["steps"][0][0].update(layer="conv9"), "no such layer"),
        (lambda content: content["versions"].update(torch="0.1"), None),
    ],
)
def test_files_with_a_right_hash_and_wrong_contents(change, message, path):
    model = pruned(seeded_norms(Chain()), IMAGES)
    save_pruned(model, path)
    content, tensors = read_checkpoint(path)
    change(content)
    write_sealed(path, tensors, content)
    fresh = Chain()
    if message is None:
        load_pruned(fresh, path)
        return
    before = snapshot(fresh)
    with pytest.raises(CheckpointError, match=message):
        load_pruned(fresh, path)
    assert snapshot(fresh) == before


def test_other_versions_are_named_where_pruning_again_fails(path):
    save_pruned(pruned(Chain(), IMAGES), path)
    content, tensors = read_checkpoint(path)
    content["versions"]["torch-pruning"] = "9.9"
    content["history"]["steps"][0].pop()
    write_sealed(path, tensors, content)
    with pytest.raises(CheckpointError, match=r"It was written with torch-pruning 9\.9 \(here "):
        load_pruned(Chain, path)


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


def test_weights_alone_and_pickles_are_refused(path):
    state = pruned(Chain(), IMAGES).state_dict()
    safetensors.torch.save_file(state, path)
    with pytest.raises(CheckpointError, match="none that save_pruned wrote"):
        load_pruned(Chain, path)
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="is a pickle"):
        load_pruned(Chain, path)
    with pytest.raises(FileNotFoundError):
        load_pruned(Chain, path.parent / "nothing")


def test_the_header_is_json_that_anyone_can_read(path):
    save_pruned(pruned(Chain(), IMAGES), path)
    with safetensors.safe_open(path, "pt") as file:
        fields = json.loads(file.metadata()["foad_plugins"])
    assert fields["version"] == 1
    assert {removal["layer"] for removal in fields["content"]["history"]["steps"][0]} == {"conv1", "conv2"}
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
    "vit_b_16": pytest.mark.slow,
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks) for name, marks in MODELS.items()])
def test_real_architectures(name, path):
    models = pytest.importorskip("torchvision.models")
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    options |= {"image_size": 64} if name.startswith("vit") else {}

    def network():
        return models.get_model(name, num_classes=10, **options).eval()

    model, images = network(), torch.rand(4, 3, 64, 64)
    # A vision transformer has the width of its stream written down.
    pruned(model, images, ignored_layers=["conv_proj"] if name.startswith("vit") else ())
    save_pruned(model, path)
    loaded = load_pruned(network, path)
    assert torch.equal(outputs(loaded, images), outputs(model, images))
