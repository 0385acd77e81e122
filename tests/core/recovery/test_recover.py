from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from foad_plugins import NoEffectWarning, RecoveryReport, recover
from foad_plugins.recovery.recover import RecoveryDivergedError
from tests.networks.residual_networks import ResidualNet, narrowed


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 8 - 1, torch.tensor(labels)


@pytest.fixture(scope="module")
def images(digits) -> Tensor:
    return digits[0][:600]


@pytest.fixture(scope="module")
def trained(digits) -> ResidualNet:
    network, (images, labels) = ResidualNet(), digits
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(6):
        for batch in torch.randperm(1200).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
    return network.eval()


@pytest.fixture
def original(trained) -> ResidualNet:
    return copy.deepcopy(trained)


@pytest.fixture
def pruned(original) -> ResidualNet:
    return narrowed(original, 3)


def values(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(network: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def distance(network: nn.Module, original: nn.Module, images: Tensor) -> float:
    with torch.no_grad():
        return float((network(images) - original(images)).square().mean())


QUICK: dict[str, Any] = {"steps": 6, "batch_size": 64, "flip": False, "crop": 0.0}


def test_training_without_labels_restores_the_accuracy_of_a_pruned_classifier(trained, original, pruned, digits):
    images, labels = digits

    def accuracy(network: nn.Module) -> float:
        with torch.no_grad():
            return float((network(images[1200:]).argmax(1) == labels[1200:]).float().mean())

    before = accuracy(pruned)
    report = recover(pruned, original, images[:1200], steps=200, batch_size=64, flip=False)
    assert accuracy(original) > 0.85
    assert before < accuracy(original) - 0.2
    assert accuracy(pruned) > accuracy(original) - 0.06
    assert report.loss_after < report.loss_before / 3
    assert report.kept == "last"
    assert (report.steps, report.images, report.left_out) == (200, 1080, 2)
    assert same(original, trained.state_dict())


def test_the_report_is_frozen_and_prints_losses_steps_and_feature_maps(original, pruned, images):
    report = recover(pruned, original, images, **QUICK)
    assert isinstance(report, RecoveryReport)
    with pytest.raises(FrozenInstanceError):
        report.steps = 3
    assert report.feature_layers == ("stem.2", "blocks.0", "blocks.1", "pool")
    assert "6 steps" in str(report)
    assert "4 feature maps" in str(report)
    assert report.history[0].step == 0
    assert report.history[-1].step == 6
    assert report.seconds > 0


class Unreadable:
    """A label that cannot be used in any way."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError("a label was read")

    def __len__(self) -> int:
        raise AssertionError("a label was read")

    __iter__ = __getitem__ = __bool__ = __index__ = __float__ = __array__ = __len__


def test_labels_are_not_read(original, pruned, images):
    hidden = Unreadable()
    unlabeled = copy.deepcopy(pruned)
    recover(pruned, original, [(batch, hidden) for batch in images.split(64)], **QUICK)
    recover(unlabeled, original, images, **QUICK)
    assert same(pruned, unlabeled.state_dict())


@pytest.mark.parametrize("form", ["list", "generator", "loader", "dict", "tuple", "pairs"])
def test_all_forms_of_data_train_alike(original, pruned, images, form):
    class Keyword(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: Tensor) -> Tensor:
            return self.network(pixels)

    data: Any = {
        "list": list(images.split(50)),
        "generator": (batch for batch in images.split(50)),
        "loader": DataLoader(TensorDataset(images, torch.zeros(len(images))), batch_size=50, shuffle=True),
        "dict": {"pixels": images},
        "tuple": (images,),
        "pairs": [(batch, torch.zeros(len(batch))) for batch in images.split(50)],
    }[form]
    expected = copy.deepcopy(pruned)
    recover(expected, original, images, **QUICK)
    networks = (Keyword(pruned), Keyword(original).eval()) if form == "dict" else (pruned, original)
    recover(*networks, data, **QUICK)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(pruned.state_dict()[name], value)


def test_an_iterable_of_unlike_batches_keeps_its_batches(original, pruned, images):
    class Batches:
        def __iter__(self):
            yield from (images[:40], images[40:100], images[100:170], images[170:200])

    report = recover(pruned, original, Batches(), freeze_bn=False, **QUICK | {"steps": None, "epochs": 2})
    assert (report.steps, report.epochs, report.left_out) == (6, 2, 1)
    assert report.loss_after < report.loss_before


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "kl", "temperature": 4.0},
        {"loss": "cosine"},
        {"loss": F.mse_loss},
        {"feature_layers": ()},
        {"feature_layers": ["blocks.*"], "feature_weight": 0.5},
        {"optimizer": torch.optim.RMSprop, "learning_rate": 1e-3},
        {"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.01)},
        {"optimizer": "adamw", "clip_norm": 0.5, "weight_decay": 0.01},
        {"ema": 0.9},
        {"freeze_bn": True, "brightness": 0.1},
        {"freeze_bn": False},
        {"transform": lambda batch: batch + 0.01 * torch.randn_like(batch)},
        {"precision": "bf16", "channels_last": True},
        {"flip": True, "crop": 0.125},
    ],
    ids="-".join,
)
def test_every_option_lowers_the_loss(original, pruned, images, options):
    before = distance(pruned, original, images[:60])
    report = recover(pruned, original, images, **QUICK | {"steps": 40} | options)
    assert report.loss_after < report.loss_before
    assert distance(pruned, original, images[:60]) < before
    assert all(parameter.is_contiguous() for parameter in pruned.parameters())


def test_same_seed_same_weights_other_seed_other_weights_and_global_generators_unchanged(original, pruned, images):
    networks = [copy.deepcopy(pruned) for _ in range(3)]
    state = torch.get_rng_state()
    for network, seed in zip(networks, (1, 1, 2), strict=True):
        recover(network, original, images, seed=seed, steps=4, batch_size=64)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(networks[0], networks[1].state_dict())
    assert not same(networks[0], networks[2].state_dict())


def test_parameters_flags_gradients_and_hooks_are_those_from_before(original, pruned, images):
    pruned.train()
    pruned.blocks[0].eval()
    pruned.head.weight.requires_grad_(False)
    pruned.stem[0].weight.grad = torch.ones_like(pruned.stem[0].weight)
    called = []
    pruned.head.register_forward_hook(lambda *_: called.append(1))
    flags = [module.training for module in pruned.modules()]
    tensors = [(tensor, tensor.data_ptr()) for tensor in (*pruned.parameters(), *pruned.buffers())]
    head = pruned.head.weight.clone()
    recover(pruned, original, images, channels_last=True, **QUICK)
    assert [module.training for module in pruned.modules()] == flags
    after = [*pruned.parameters(), *pruned.buffers()]
    assert all(one is tensor and one.data_ptr() == place for one, (tensor, place) in zip(after, tensors, strict=True))
    assert torch.equal(pruned.head.weight, head)
    assert torch.equal(pruned.stem[0].weight.grad, torch.ones_like(pruned.stem[0].weight))
    assert all(parameter.grad is None for name, parameter in pruned.named_parameters() if name != "stem.0.weight")
    assert len(pruned.head._forward_hooks) == 1
    assert called
    assert not any(module._forward_hooks for module in original.modules())


def test_training_that_makes_the_network_worse_is_undone(original, pruned, images):
    before = values(pruned)
    options = {"optimizer": "sgd", "learning_rate": 3.0, "clip_norm": 100.0, "warmup": 0.0, "freeze_bn": True}
    report = recover(pruned, original, images, **QUICK | options | {"steps": 2})
    assert report.kept == "first"
    assert report.loss_after == report.loss_before
    assert report.history[-1].loss > report.loss_before
    assert same(pruned, before)
    assert "state from before" in str(report)


def test_the_state_with_the_best_score_is_kept(original, pruned, images):
    scores, states = iter([0.1, 0.5, 0.9, 0.3]), []

    def validate(network: nn.Module) -> float:
        states.append(values(network))
        assert not network.training
        return next(scores)

    report = recover(pruned, original, images, validate=validate, keep_best=True, measure_every=2, **QUICK)
    assert [one.score for one in report.history] == [0.1, 0.5, 0.9, 0.3]
    assert (report.kept, report.kept_step) == ("best", 4)
    assert same(pruned, states[2])
    assert "validation" in str(report)


def test_averaged_weights_are_measured_and_kept(original, pruned, images):
    seen = []
    recover(pruned, original, images, ema=0.5, validate=lambda network: seen.append(values(network)) or 0.0, **QUICK)
    assert same(pruned, seen[-1])


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("keep", [False, True])
def test_an_interrupted_training_restores_the_network_or_keeps_the_best_state(original, pruned, images, error, keep):
    before, batches = values(pruned), []
    far = distance(pruned, original, images[:60])

    def transform(batch: Tensor) -> Tensor:
        batches.append(1)
        if len(batches) == 5:
            raise error("stop")
        return batch

    with pytest.raises(error):
        recover(pruned, original, images, transform=transform, measure_every=2, keep_best_on_error=keep, **QUICK)
    assert same(pruned, before) is not keep
    assert (distance(pruned, original, images[:60]) < far) is keep
    assert not any(module._forward_hooks for module in (*pruned.modules(), *original.modules()))


def test_a_loss_that_is_not_finite_ends_the_training_with_the_best_state(original, pruned, images):
    calls = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        if output.requires_grad:
            calls.append(1)
        return F.mse_loss(output, target) * (float("nan") if len(calls) == 5 else 1)

    before = distance(pruned, original, images[:60])
    with pytest.raises(RecoveryDivergedError, match=r"nan at step 5 of 6.*best state so far, that of step 4"):
        recover(pruned, original, images, loss=loss, measure_every=2, **QUICK | {"freeze_bn": True})
    assert distance(pruned, original, images[:60]) < before


@pytest.mark.parametrize("options", [{}, {"ema": 0.9, "optimizer": "adamw"}, {"freeze_bn": False}], ids=str)
@pytest.mark.parametrize("stop", [2, 4])
def test_a_resumed_training_gives_the_same_bits(original, pruned, images, tmp_path, options, stop):
    options = QUICK | {"measure_every": 2, "flip": True, "crop": 0.2} | options
    whole, start = copy.deepcopy(pruned), values(pruned)
    expected = recover(whole, original, images, **options)
    steps = []

    def validate(network: nn.Module) -> float:
        steps.append(1)
        if len(steps) == 2 + stop // 2:
            raise KeyboardInterrupt
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        recover(pruned, original, images, checkpoint=tmp_path / "state.pt", validate=validate, **options)
    assert same(pruned, start)
    report = recover(pruned, original, images, checkpoint=tmp_path / "state.pt", **options)
    assert same(pruned, whole.state_dict())
    assert [one.loss for one in report.history] == [one.loss for one in expected.history]
    finished = copy.deepcopy(pruned)
    pruned.load_state_dict(start)
    recover(pruned, original, images, checkpoint=tmp_path / "state.pt", **options)
    assert same(pruned, finished.state_dict())


def test_checkpoints_of_other_trainings_and_damaged_ones_are_refused(original, pruned, images, tmp_path):
    file, before = tmp_path / "state.pt", values(pruned)
    recover(copy.deepcopy(pruned), original, images, checkpoint=file, **QUICK)
    with pytest.raises(ValueError, match="seed was 0 and is 3 now"):
        recover(pruned, original, images, checkpoint=file, seed=3, **QUICK)
    with pytest.raises(ValueError, match="shapes was"):
        recover(narrowed(original, 2), original, images, checkpoint=file, **QUICK)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ValueError, match="cannot be read"):
        recover(pruned, original, images, checkpoint=file, **QUICK)
    torch.save({"weights": 1}, file)
    with pytest.raises(ValueError, match="not the state of a recovery"):
        recover(pruned, original, images, checkpoint=file, **QUICK)
    assert same(pruned, before)


class Several(nn.Module):
    """Outputs in a structure, some of them no floating-point tensors."""

    def __init__(self, network: ResidualNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Any]:
        maps = self.network.blocks(self.network.stem(images))
        return {"maps": (maps, None), "classes": maps.mean((2, 3)).argmax(1), "logits": self.network(images)}


def test_outputs_in_any_structure_are_compared(original, pruned, images):
    report = recover(Several(pruned), Several(original).eval(), images, **QUICK | {"steps": 30})
    assert report.loss_after < report.loss_before


def test_forward_fn_and_output_transform_choose_what_is_compared(original, pruned, images):
    batches = [{"image": batch, "name": "x"} for batch in images.split(60)]
    report = recover(
        pruned,
        original,
        batches,
        forward_fn=lambda network, batch: {"features": network.stem(batch["image"]), "count": 3},
        output_transform=lambda output: output["features"],
        feature_layers=(),
        **QUICK | {"optimizer": "sgd"},
    )
    assert report.loss_before == pytest.approx(0, abs=1e-9)


def test_a_step_of_prune_can_be_followed_by_it(original, images):
    from foad_plugins import prune

    network, reports = copy.deepcopy(original), []
    prune(
        network,
        images[:64],
        flops=0.5,
        steps=2,
        compensate="least_squares",
        ignored_layers=["blocks.0.conv2", "blocks.1.conv2", "stem.0"],
        measure_latency=False,
        callback=lambda model, step: reports.append(recover(model, original, images, **QUICK)),
    )
    reports.append(recover(network, original, images, **QUICK))
    assert len(reports) == 2
    assert all(report.loss_after < report.loss_before for report in reports)


@pytest.mark.parametrize("zero", [{"epochs": 0}, {"steps": 0}], ids=str)
def test_zero_epochs_do_nothing_and_warn(original, pruned, images, zero):
    before = values(pruned)
    with pytest.warns(NoEffectWarning, match=f"nothing was trained: {next(iter(zero))} is 0"):
        report = recover(pruned, original, images, **zero)
    assert same(pruned, before)
    assert report.steps == 0
    assert "nothing was trained" in str(report)


BAD_ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"epochs": 1, "steps": 1}, ValueError, "epochs or steps, not both"),
    ({"epochs": -1}, ValueError, "epochs must be at least 0, got -1"),
    ({"epochs": float("nan")}, ValueError, "epochs must be at least 0, got nan"),
    ({"steps": 1.5}, TypeError, "steps must be an integer, got 1.5"),
    ({"learning_rate": 0}, ValueError, "learning_rate must be above 0, got 0"),
    ({"learning_rate": -0.1}, ValueError, "learning_rate must be above 0, got -0.1"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ({"warmup": 1.0}, ValueError, "warmup must be at least 0 and below 1"),
    ({"ema": 1.0}, ValueError, "ema must be at least 0 and below 1"),
    ({"clip_norm": 0.0}, ValueError, "clip_norm must be above 0"),
    ({"precision": "fp8"}, ValueError, "precision must be 'float32' or 'bf16'"),
    ({"loss": "hinge"}, ValueError, "loss must be one of"),
    ({"loss": 3}, TypeError, "loss must be a name or a function"),
    ({"loss": lambda a, b: (a - b).square()}, ValueError, r"loss must return a tensor of shape \(\)"),
    ({"optimizer": "adam"}, ValueError, "optimizer must be"),
    ({"optimizer": lambda groups: None}, TypeError, "must return a torch.optim.Optimizer"),
    ({"transform": 3}, TypeError, "transform must be a function"),
    ({"temperature": 0}, ValueError, "temperature must be above 0"),
    ({"feature_weight": -1}, ValueError, "feature_weight must be at least 0"),
    ({"feature_layers": ["nothing"]}, ValueError, "'nothing' fits no layer"),
    ({"feature_layers": ["blocks.0.conv1"]}, ValueError, "must give the same shapes in model and original"),
    ({"device": "cuda:77"}, ValueError, "device='cuda:77' cannot be used here"),
    ({"device": "abacus"}, ValueError, "device='abacus' cannot be used here"),
    ({"device": "meta"}, ValueError, "device='meta' cannot be used here"),
    ({"left_out": 600}, ValueError, "left_out: must be below the 600 images"),
    ({"validate": lambda network: "good"}, TypeError, "validate must return a number"),
    ({"distributed": True}, RuntimeError, "needs torch.distributed"),
]


def _id(value: object) -> str:
    # Names alone: processes that share the tests must agree on them, and functions have other addresses in each.
    return "-".join(value) if isinstance(value, dict) else str(value)[:40]


@pytest.mark.parametrize(("options", "error", "text"), BAD_ARGUMENTS, ids=_id)
def test_arguments_out_of_range_are_refused(original, pruned, images, options, error, text):
    before = values(pruned)
    with pytest.raises(error, match=text):
        recover(pruned, original, images, **options)
    assert same(pruned, before)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([], "no batch"),
        (torch.zeros(0, 1, 8, 8), "empty batch"),
        (torch.zeros(1, 1, 8, 8), "at least 2 images"),
        (torch.zeros(8, 3, 8, 8), "does not run on the calibration data"),
        (torch.full((8, 1, 8, 8), torch.nan), "must be finite"),
        ((torch.zeros(4, 1, 8, 8), torch.zeros(3, 1)), "nothing to measure on"),
    ],
    ids=["none", "empty", "one", "channels", "nan", "unlike"],
)
def test_images_that_cannot_be_used_are_refused(original, pruned, data, text):
    with pytest.raises(ValueError, match=text):
        recover(pruned, original, data)


def test_networks_that_do_not_belong_together_are_refused(original, pruned, images):
    wide = ResidualNet()
    wide.head = nn.Linear(32, 12)
    with pytest.raises(ValueError, match=r"outputs of the same shapes, got \[\(2, 12\)\] and \[\(2, 10\)\]"):
        recover(wide, original, images)
    with pytest.raises(ValueError, match="shares parameters"):
        recover(original, original, images)
    with pytest.raises(TypeError, match="original must be a torch.nn.Module"):
        recover(pruned, ResidualNet, images)
    with pytest.raises(ValueError, match="no floating-point tensor"):
        recover(pruned, original, images, output_transform=lambda output: output.argmax(1))


def test_an_original_in_train_mode_is_refused(original, pruned, images):
    original.blocks[1].norm1.train()
    with pytest.raises(ValueError, match=r"'blocks.1.norm1' is in train mode: call original.eval\(\)"):
        recover(pruned, original, images)


def test_a_frozen_network_is_refused(original, pruned, images):
    pruned.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train"):
        recover(pruned, original, images)
