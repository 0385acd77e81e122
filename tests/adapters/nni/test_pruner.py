from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
import torch_pruning as tp
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("nni")

from foad_plugins import FOADImportance, UnscoredGroupWarning
from foad_plugins.adapters.nni.pruner import FOADPruner
from foad_plugins.benchmarks.models.foad_resnet import FOADResNet
from foad_plugins.benchmarks.models.vgg_cifar import VGG16CIFAR
from tests.adapters.nni import test_batch_norm_masks as host
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, Concat, Residual, seeded_norms

pytestmark = host.pytestmark

IMAGES = torch.rand(6, 3, 8, 8, generator=generator())
LABELS = torch.arange(6) % 5


def kept_of(mask: torch.Tensor) -> list[int]:
    return mask.flatten(1).any(1).nonzero().flatten().tolist()


def conv_config(ratio: float | None = 0.5, **more: Any) -> list[dict[str, Any]]:
    return [{"op_types": ["Conv2d"], **({} if ratio is None else {"sparse_ratio": ratio}), **more}]


def snapshot(model: nn.Module) -> tuple[Any, ...]:
    return (
        [
            (name, type(module).__name__, module.training, sorted(vars(module)))
            for name, module in model.named_modules()
        ],
        {name: value.tolist() for name, value in model.named_parameters()},
        {name: value.tolist() for name, value in model.named_buffers()},
        sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()),
    )


def nni_wrapper(model: nn.Module, name: str) -> Any:
    from nni.compression.base.wrapper import ModuleWrapper

    return ModuleWrapper(model.get_submodule(name), name, {"pruning": {"target_names": ["weight"]}})


def torch_evaluator(model: nn.Module, batches: int = 8) -> Any:
    import nni
    from nni.compression.utils import TorchEvaluator

    def train(network, optimizer, loss, lr_scheduler=None, max_steps=None, max_epochs=None, *args, **kwargs):
        network.train()
        for step in range(min(batches, max_steps or batches)):
            optimizer.zero_grad()
            part = slice(step % 2 * 3, step % 2 * 3 + 3)
            loss((IMAGES[part], LABELS[part]), network).backward()
            optimizer.step()

    def loss(batch, network):
        return nn.functional.cross_entropy(network(batch[0]), batch[1])

    optimizer = nni.trace(torch.optim.SGD)(model.parameters(), lr=1e-3)
    return TorchEvaluator(training_func=train, optimizers=optimizer, training_step=lambda b, m: loss(b, m))


def test_masks_remove_the_lowest_scores_at_the_consumer():
    model = seeded_norms(Chain()).eval()
    graph = tp.DependencyGraph().build_dependency(model, (IMAGES[:1],))
    scores = FOADImportance(IMAGES)(graph.get_pruning_group(model.conv1, tp.prune_conv_out_channels, list(range(8))))
    _, masks = FOADPruner(model, conv_config(0.5), data=IMAGES).compress()
    assert kept_of(masks["conv1"]["weight"]) == sorted(scores.argsort()[4:].tolist())
    assert torch.equal(masks["conv1"]["bias"], masks["conv1"]["weight"].flatten(1).amax(1))
    assert torch.equal(masks["norm1"]["weight"], masks["conv1"]["bias"])


def test_without_a_ratio_the_published_rule_decides():
    model = seeded_norms(Chain()).eval()
    graph = tp.DependencyGraph().build_dependency(model, (IMAGES[:1],))
    for neighbors, threshold in ((1, 0.0), (2, 0.1), (1, 1.0)):
        importance = FOADImportance(IMAGES, neighbors=neighbors, threshold=threshold)
        twin = copy.deepcopy(model)
        _, masks = FOADPruner(
            twin, conv_config(None), data=IMAGES, neighbors=neighbors, threshold=threshold, order="backward"
        ).compress()
        for name in ("conv1", "conv2"):
            layer = model.get_submodule(name)
            group = graph.get_pruning_group(layer, tp.prune_conv_out_channels, list(range(layer.out_channels)))
            assert kept_of(masks[name]["weight"]) == list(importance.selection(group).kept)


def test_ratios_bound_the_rule():
    _, masks = FOADPruner(seeded_norms(Chain()), conv_config(None, min_sparse_ratio=0.75), data=IMAGES).compress()
    assert [len(kept_of(masks[name]["weight"])) for name in ("conv1", "conv2")] == [2, 3]
    _, masks = FOADPruner(seeded_norms(Chain()), conv_config(None, max_sparse_ratio=0.125), data=IMAGES).compress()
    assert [len(kept_of(masks[name]["weight"])) for name in ("conv1", "conv2")] == [7, 11]


def test_thresholds_and_global_groups_are_those_of_nni():
    config = [{"op_types": ["Conv2d"], "sparse_threshold": 1.0}]
    model = seeded_norms(Chain())
    _, masks = FOADPruner(copy.deepcopy(model), config, data=IMAGES).compress()
    _, ruled = FOADPruner(model, conv_config(None), data=IMAGES).compress()
    for name in ("conv1", "conv2"):
        # Channels of the first round, the selection of the published rule, have scores below 1.
        assert kept_of(masks[name]["weight"]) == kept_of(ruled[name]["weight"])
    config = conv_config(0.5, global_group_id="all")
    _, masks = FOADPruner(seeded_norms(Chain()), config, data=IMAGES).compress()
    removed = sum(int((~masks[name]["weight"].flatten(1).any(1)).sum()) for name in ("conv1", "conv2"))
    assert 0 < removed < 20


class _Size(Chain):
    """Flattens by the number of elements in a ``torch.Size``."""

    def forward(self, x):
        x = nn.functional.max_pool2d(self.norm1(self.conv1(x)).relu(), 2)
        x = nn.functional.max_pool2d(self.norm2(self.conv2(x)).relu(), 2)
        return self.fc(x.view(-1, x.size()[1:].numel()))


class _OneOutput(nn.Module):
    """A convolution with one output channel at the end, or before another."""

    def __init__(self, end: bool) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 12, 3), nn.BatchNorm2d(12)
        self.one = nn.Conv2d(12, 1, 3)
        self.last = nn.Identity() if end else nn.Conv2d(1, 4, 1)

    def forward(self, x):
        x = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu())).relu()
        return self.last(self.one(x))


class _Gate(nn.Module):
    """Features times a map of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.gate, self.last = nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(8, 1, 1), nn.Conv2d(12, 4, 3)

    def forward(self, x):
        x = self.norm1(self.conv1(x)).relu()
        return self.last(self.conv2(x).relu() * self.gate(x).sigmoid())


@pytest.mark.parametrize("network", [_Size, lambda: _OneOutput(True), lambda: _OneOutput(False), _Gate])
@pytest.mark.parametrize("names", [["conv1", "conv2"], None])
def test_sizes_and_convolutions_with_one_output_through_speedup(network, names):
    from nni.compression.speedup import ModelSpeedup

    model = seeded_norms(network()).eval()
    selected = {"exclude_op_names": ["last"]} if names is None else {"op_names": names}
    if names is None and not isinstance(getattr(model, "last", None), nn.Conv2d):
        selected = {}
    pruner = FOADPruner(model, conv_config(0.5, **selected), data=IMAGES)
    _, masks = pruner.compress()
    masked = host.run(model, IMAGES)
    pruner.unwrap_model()
    ModelSpeedup(model, IMAGES, masks).speedup_model()
    assert (model.conv1.out_channels, model.conv2.out_channels) == (4, 6)
    assert host.distance(host.run(model.eval(), IMAGES), masked) < 1e-5


@pytest.mark.parametrize("network", [Chain, Residual, Concat, lambda: Chain(groups=4)])
def test_the_masked_model_is_the_speedup_model(network):
    from nni.compression.speedup import ModelSpeedup
    from nni.compression.utils import auto_set_denpendency_group_ids

    model = seeded_norms(network()).eval()
    head = ["last"] if isinstance(model, Concat) else []
    config = auto_set_denpendency_group_ids(model, conv_config(0.5, exclude_op_names=head), IMAGES)
    before = sum(parameter.numel() for parameter in model.parameters())
    pruner = FOADPruner(model, config, data=IMAGES)
    _, masks = pruner.compress()
    others = torch.rand(3, 3, 8, 8)
    masked = host.run(model, others)
    pruner.unwrap_model()
    ModelSpeedup(model, IMAGES, masks).speedup_model()
    assert sum(parameter.numel() for parameter in model.parameters()) < before
    assert host.distance(host.run(model.eval(), others), masked) < 1e-4


def parity(model: nn.Module, images: torch.Tensor, names: list[str], ratio: float) -> None:
    """Both adapters keep the same channels, on the same data and at the same widths."""
    graph = tp.DependencyGraph().build_dependency(model, (images[:1],))
    importance = FOADImportance(images)
    expected = {}
    for name in names:
        layer = model.get_submodule(name)
        width = layer.out_channels
        scores = importance(graph.get_pruning_group(layer, tp.prune_conv_out_channels, list(range(width))))
        expected[name] = sorted(scores.argsort(stable=True)[int(width * ratio) :].tolist())
    config = [{"op_names": names, "sparse_ratio": ratio}]
    _, masks = FOADPruner(model, config, data=images).compress()
    assert {name: kept_of(masks[name]["weight"]) for name in names} == expected


def test_parity_on_resnet56(resnet56_weights, cifar):
    model = FOADResNet()
    model.load_state_dict(resnet56_weights)
    names = [name for name, layer in model.eval().named_modules() if isinstance(layer, nn.Conv2d)]
    parity(model, cifar[:64], names, 0.4)


def test_parity_on_vgg16(vgg16_weights, cifar):
    model = VGG16CIFAR()
    model.load_state_dict(vgg16_weights)
    names = [name for name, layer in model.eval().named_modules() if isinstance(layer, nn.Conv2d)]
    parity(model, cifar[:32], names, 0.5)


def test_parity_on_mobilenet_v2():
    models = pytest.importorskip("torchvision.models")
    model = host.randomise(models.mobilenet_v2())
    names = [name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d) and layer.groups == 1]
    parity(model, torch.rand(4, 3, 64, 64), names, 0.5)


def test_the_authors_lists_as_masks(reference, resnet56_weights, cifar):
    case = reference["resnet56"][0]
    assert (case["images"], case["t"], case["s"]) == ("train[0:128]", 1, 0.0)
    model = FOADResNet()
    model.load_state_dict(resnet56_weights)
    inner = {f"features.{name}.baseNet.0": kept for name, kept in case["kept"].items() if name != "conv1"}
    _, masks = FOADPruner(model, [{"op_names": list(inner)}], data=cifar[:128]).compress()
    assert {name: kept_of(masks[name]["weight"]) for name in inner} == inner


def test_layers_of_a_dependency_group_have_equal_masks():
    model = Residual()
    config = [{"op_names": ["stem", "block1.3", "block2"], "sparse_ratio": 0.5, "dependency_group_id": 0}]
    _, masks = FOADPruner(model, config, data=IMAGES).compress()
    assert (
        kept_of(masks["stem"]["weight"]) == kept_of(masks["block1.3"]["weight"]) == kept_of(masks["block2"]["weight"])
    )


def test_groups_of_different_layers_use_their_mean_similarity():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3)
            self.fc = nn.Linear(6, 2)

        def forward(self, x):
            return self.fc(self.b(self.a(x)).mean((2, 3)))

    model = Pair().eval()
    graph = tp.DependencyGraph().build_dependency(model, (IMAGES[:1],))
    importance = FOADImportance(IMAGES)
    both = [
        importance.similarity(graph.get_pruning_group(layer, tp.prune_conv_out_channels, list(range(6))))
        for layer in (model.a, model.b)
    ]
    from foad_plugins import elimination_order

    sequence = elimination_order(torch.stack(both).mean(0)).sequence
    config = [{"op_types": ["Conv2d"], "sparse_ratio": 0.5, "dependency_group_id": "pair"}]
    _, masks = FOADPruner(model, config, data=IMAGES).compress()
    assert kept_of(masks["a"]["weight"]) == kept_of(masks["b"]["weight"]) == sorted(sequence[3:])


def test_unwrapping_restores_the_model():
    model = seeded_norms(Chain()).train()
    model.norm1.eval()
    before = snapshot(model)
    pruner = FOADPruner(model, conv_config(), data=DataLoader(TensorDataset(IMAGES, LABELS), batch_size=4))
    pruner.compress()
    pruner.unwrap_model()
    assert snapshot(model) == before


def test_unwrapping_keeps_a_forward_that_the_user_has_replaced():
    model = seeded_norms(Chain()).eval()
    plain = model.conv2.forward
    model.conv2.forward = lambda x: 2 * plain(x)
    before, expected = snapshot(model), host.run(model, IMAGES)
    pruner = FOADPruner(model, conv_config(), data=IMAGES)
    pruner.compress()
    pruner.unwrap_model()
    assert snapshot(model) == before
    assert torch.equal(host.run(model, IMAGES), expected)


@pytest.mark.parametrize("wrapped", ["conv2", "norm2"])
def test_an_error_while_nni_wraps_leaves_the_model_unchanged(wrapped):
    model = seeded_norms(Chain()).train()
    taken = nni_wrapper(model, wrapped)
    taken.wrap()
    before = snapshot(model)
    with pytest.raises(AssertionError, match=f"{wrapped} is already wrapped"):
        FOADPruner(model, conv_config(), data=IMAGES)
    assert snapshot(model) == before
    taken.unwrap()
    FOADPruner(model, conv_config(), data=IMAGES).compress()


def test_calibrating_on_the_evaluators_batches():
    model = seeded_norms(Chain())
    pruner = FOADPruner(model, conv_config(), torch_evaluator(model), 2)
    _, masks = pruner.compress()
    assert [len(kept_of(masks[name]["weight"])) for name in ("conv1", "conv2")] == [4, 6]
    pruner.unwrap_model()
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    model(IMAGES).sum().backward()


def test_a_training_that_fails_leaves_no_hook():
    class Fails(Chain):
        def forward(self, x):
            if self.training:
                raise RuntimeError("no training")
            return super().forward(x)

    model = Fails()
    pruner = FOADPruner(model, conv_config(), torch_evaluator(model), 2)
    with pytest.raises(RuntimeError, match="no training"):
        pruner.compress()
    pruner.unwrap_model()
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_an_evaluator_with_too_few_batches():
    model = seeded_norms(Chain())
    pruner = FOADPruner(model, conv_config(), torch_evaluator(model, batches=1), 3)
    with pytest.raises(ValueError, match="ended after 1 of training_steps=3"):
        pruner.compress()
    model = seeded_norms(Chain())
    with pytest.raises(ValueError, match="gave no batch"):
        FOADPruner(model, conv_config(), torch_evaluator(model, batches=0), 3).compress()


@pytest.mark.parametrize("data", [IMAGES, None], ids=["data", "evaluator"])
@pytest.mark.parametrize("schedule", ["AGPPruner", "LinearPruner"])
def test_under_a_schedule(schedule, data):
    from nni.compression import pruning

    model = seeded_norms(Chain())
    steps = {} if data is not None else {"training_steps": 1}
    inner = FOADPruner(model, conv_config(0.75), torch_evaluator(model), data=data, **steps)
    masked = []
    generate = inner.generate_masks

    def watch():
        masks = generate()
        masked.append({i for i in range(8) if i not in kept_of(masks["conv1"]["weight"])})
        return masks

    inner.generate_masks = watch
    pruner = getattr(pruning, schedule)(inner, interval_steps=2, total_times=3)
    _, masks = pruner.compress(max_steps=6, max_epochs=None)
    assert len(masked) == 3
    assert masked[0] <= masked[1] <= masked[2]
    assert len(kept_of(masks["conv1"]["weight"])) == 2
    assert len(kept_of(masks["conv2"]["weight"])) == 3
    pruner.unwrap_model()


def test_from_another_compressor():
    from nni.compression.pruning import L1NormPruner

    model = seeded_norms(Chain())
    first = L1NormPruner(model, [{"op_names": ["conv2"], "sparse_ratio": 0.5}], torch_evaluator(model))
    first.compress()
    pruner = FOADPruner.from_compressor(first, [{"op_names": ["conv1"], "sparse_ratio": 0.5}], data=IMAGES)
    pruner.update_masks(pruner.generate_masks())
    masks = pruner.get_masks()
    assert [len(kept_of(masks[name]["weight"])) for name in ("conv1", "conv2")] == [4, 6]
    assert pruner.evaluator is first.evaluator


def test_from_another_compressor_with_the_steps_by_position():
    from nni.compression.pruning import L1NormPruner

    model = seeded_norms(Chain())
    first = L1NormPruner(model, [{"op_names": ["conv2"], "sparse_ratio": 0.5}], torch_evaluator(model))
    first.compress()
    pruner = FOADPruner.from_compressor(first, [{"op_names": ["conv1"], "sparse_ratio": 0.5}], 3)
    assert pruner.training_steps == 3
    pruner.unwrap_model()


def test_a_generator_and_a_forward_function():
    model, twin = seeded_norms(Chain()), seeded_norms(Chain())
    twin.load_state_dict(model.state_dict())
    _, expected = FOADPruner(model, conv_config(), data=IMAGES).compress()
    pruner = FOADPruner(
        twin,
        conv_config(),
        data=({"pixels": part} for part in IMAGES.split(2)),
        forward_fn=lambda network, batch: network(batch["pixels"]),
    )
    _, masks = pruner.compress()
    assert torch.equal(masks["conv1"]["weight"], expected["conv1"]["weight"])
    with pytest.raises(ValueError, match="only once"):
        pruner.compress()


def test_a_layer_that_never_runs_keeps_all_channels():
    model = Chain()
    model.spare = nn.Conv2d(3, 4, 3)
    with pytest.warns(UnscoredGroupWarning, match="'spare'"):
        _, masks = FOADPruner(model, conv_config(), data=IMAGES).compress()
    assert masks["spare"]["weight"].all()


CASES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"config_list": conv_config(1.5)}, ValueError, r"config_list\[0\]: sparse_ratio must be in \[0, 1\), got 1.5"),
    ({"config_list": conv_config(1.0)}, ValueError, "sparse_ratio"),
    ({"config_list": conv_config(-0.2)}, ValueError, "got -0.2"),
    ({"config_list": conv_config("half")}, TypeError, "a number"),
    ({"config_list": conv_config(0.5, max_sparse_ratio=0.0)}, ValueError, "max_sparse_ratio"),
    ({"config_list": conv_config(0.5, sparse_rato=0.5)}, ValueError, "sparse_rato"),
    ({"config_list": conv_config(None, target_settings={"weight": {"sparse_ratio": 2.0}})}, ValueError, "got 2.0"),
    ({"config_list": [{"op_names": ["conv11"], "sparse_ratio": 0.5}]}, ValueError, "did you mean 'conv1'"),
    ({"config_list": [{"op_types": ["Conv2D"], "sparse_ratio": 0.5}]}, ValueError, "did you mean 'Conv2d'"),
    ({"config_list": [{"op_names_re": ["block.*"], "sparse_ratio": 0.5}]}, ValueError, "matches no layer"),
    ({"config_list": conv_config(0.5, exclude_op_names=["conf1"])}, ValueError, "'conf1'"),
    ({"config_list": conv_config(0.5, exclude_op_types=["Conv2d"])}, ValueError, "selects no layer"),
    ({"config_list": [{"op_types": ["BatchNorm2d"], "sparse_ratio": 0.5}]}, ValueError, "a BatchNorm2d"),
    ({"config_list": conv_config(0.5, granularity=[2, 1])}, ValueError, "granularity"),
    ({"config_list": conv_config(0.5, granularity="in_channel")}, ValueError, "granularity"),
    ({"config_list": conv_config(0.5, target_names=["bias"])}, ValueError, "targets are weight and bias"),
    ({"config_list": conv_config(0.5, target_names=["weight", "_output_"])}, ValueError, "targets are weight and bias"),
    ({"config_list": conv_config(0.5, dependency_group_id=1)}, ValueError, "different widths: 'conv1': 8, 'conv2': 12"),
    (
        {"config_list": conv_config(None, sparse_threshold=0.5, dependency_group_id=1)},
        ValueError,
        "no sparse_threshold",
    ),
    ({"config_list": conv_config(None, global_group_id="all")}, ValueError, "'all' needs one sparse_ratio .* got None"),
    (
        {
            "config_list": [
                {"op_names": ["conv1"], "global_group_id": 1, "sparse_ratio": 0.5},
                {"op_names": ["conv2"], "global_group_id": 1, "sparse_ratio": 0.25},
            ]
        },
        ValueError,
        "global group 1 needs one sparse_ratio for all of its layers, got 0.25, 0.5",
    ),
    ({"config_list": {"op_types": ["Conv2d"]}}, TypeError, "list of dicts"),
    ({"config_list": None}, TypeError, "config_list must be a list of dicts, got None"),
    ({"config_list": []}, ValueError, "config_list is empty"),
    ({"model": Chain}, TypeError, "model must be a torch.nn.Module, got the class Chain"),
    ({"data": None}, ValueError, "needs calibration data"),
    ({"data": []}, ValueError, "gave no batch"),
    ({"data": IMAGES[0]}, ValueError, "batch dimension"),
    ({"data": 3}, TypeError, "data must be"),
    ({"data": DataLoader(TensorDataset(IMAGES[:0]))}, ValueError, "gave no batch"),
    ({"data": torch.zeros(2, 3, 16, 16)}, ValueError, r"data: the model does not run .*\(float32 \(1, 3, 16, 16\)\)"),
    ({"max_batches": 0}, ValueError, "max_batches must be None or at least 1, got 0"),
    ({"forward_fn": 3}, TypeError, "forward_fn must be callable"),
    ({"forward_fn": lambda model, batch: model()}, ValueError, "data: forward_fn fails on the first"),
    ({"neighbors": 0}, ValueError, "neighbors"),
    ({"threshold": 7}, ValueError, "threshold"),
    ({"order": "sideways"}, ValueError, "order"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), CASES)
def test_errors_come_before_the_model_is_wrapped(arguments, error, message):
    model = seeded_norms(Chain()).train()
    before = snapshot(model)
    with pytest.raises(error, match=message):
        FOADPruner(**{"model": model, "config_list": conv_config(), "data": IMAGES, **arguments})
    assert snapshot(model) == before


@pytest.mark.skipif(torch.__version__ < "2.6", reason="NNI's tracer follows this model on torch 2.4")
def test_a_model_that_nni_cannot_trace():
    class Closed(Chain):
        def forward(self, x):
            if type(x) is not torch.Tensor:
                raise TypeError("plain tensors only")
            return super().forward(torch.utils.checkpoint.checkpoint(lambda y: y, x, use_reentrant=False))

    model = Closed()
    before = snapshot(model)
    with pytest.raises(ValueError, match="NNI's tracer cannot trace the model"):
        FOADPruner(model, conv_config(), data=IMAGES)
    assert snapshot(model) == before


@pytest.mark.filterwarnings("ignore")
def test_a_lightning_evaluator():
    import nni
    from nni.compression.utils import LightningEvaluator

    lightning = pytest.importorskip("pytorch_lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = seeded_norms(Chain())

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return nni.trace(torch.optim.SGD)(self.parameters(), lr=1e-3)

    @nni.trace
    class Digits(lightning.LightningDataModule):
        def train_dataloader(self):
            return DataLoader(TensorDataset(IMAGES, LABELS), batch_size=3)

    model = Module()
    trainer = nni.trace(lightning.Trainer)(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, max_steps=4
    )
    pruner = FOADPruner(model, conv_config(), LightningEvaluator(trainer, Digits()), 2)
    _, masks = pruner.compress()
    assert [len(kept_of(masks[name]["weight"])) for name in ("net.conv1", "net.conv2")] == [4, 6]
    pruner.unwrap_model()


def test_conflicting_ratios_in_a_group():
    config = [
        {"op_names": ["stem"], "sparse_ratio": 0.5, "dependency_group_id": 0},
        {"op_names": ["block2"], "sparse_ratio": 0.25, "dependency_group_id": 0},
    ]
    with pytest.raises(ValueError, match="different ratios: 'block2': 0.25, 'stem': 0.5"):
        FOADPruner(Residual(), config, data=IMAGES)


def test_bounds_of_the_rule_in_a_group_must_agree():
    config = [
        {"op_names": ["stem"], "min_sparse_ratio": 0.5, "dependency_group_id": 0},
        {"op_names": ["block2"], "dependency_group_id": 0},
    ]
    with pytest.raises(ValueError, match=r"different ratios: 'block2': None, 'stem': min_sparse_ratio=0.5"):
        FOADPruner(Residual(), config, data=IMAGES)


def test_config_lists_from_before_nni_3():
    config = [{"op_types": ["Conv2d"], "sparsity_per_layer": 0.5}, {"exclude": True, "op_names": ["conv2"]}]
    _, masks = FOADPruner(seeded_norms(Chain()), config, data=IMAGES).compress()
    assert len(kept_of(masks["conv1"]["weight"])) == 4
    assert "conv2" not in masks


def test_a_layer_with_two_names():
    model = Residual()
    model.again = model.block2
    before = snapshot(model)
    with pytest.raises(ValueError, match="one layer under two names, 'again' and 'block2'.* exclude_op_names"):
        FOADPruner(model, conv_config(), data=IMAGES)
    assert snapshot(model) == before
    FOADPruner(model, conv_config(0.5, exclude_op_names=["again"]), data=IMAGES).compress()


def test_without_nni_one_error_names_the_extra():
    code = "import sys; sys.modules['nni'] = None; import foad_plugins; foad_plugins.FOADPruner"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install "foad-plugins[nni]"' in done.stderr.splitlines()[-1]
