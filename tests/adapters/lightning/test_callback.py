"""Pruning within trainings of PyTorch Lightning."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

from foad_plugins import count_flops, load_pruned, save_pruned
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, seeded_norms

pl = pytest.importorskip("pytorch_lightning")
pytestmark = pytest.mark.filterwarnings("ignore")

IMAGES = torch.rand(64, 3, 8, 8, generator=generator())
LABELS = torch.arange(64) % 4
KEY = "exp_avg"


class Module(pl.LightningModule):
    def __init__(self, network=None, averaged=False):
        super().__init__()
        self.network = network or seeded_norms(Chain())
        self.averaged = AveragedModel(self.network) if averaged else None

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("loss", nn.functional.cross_entropy(self.network(batch[0]), batch[1]))

    def on_train_batch_end(self, *_):
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.network.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


class Look(pl.Callback):
    """Notes widths at the end of each epoch, and that the optimizer trains what the network has."""

    def __init__(self):
        self.widths = []

    def on_train_epoch_end(self, trainer, module):
        self.widths.append(module.network.conv1.out_channels)
        (optimizer,) = trainer.optimizers
        parameters = {id(parameter) for parameter in module.network.parameters()}
        assert {id(parameter) for group in optimizer.param_groups for parameter in group["params"]} == parameters
        assert all(state[KEY].shape == parameter.shape for parameter, state in optimizer.state.items())
        assert {id(parameter) for parameter in optimizer.state} == parameters
        # State that was reset would count from the start.
        assert {int(state["step"]) for state in optimizer.state.values()} == {trainer.global_step}


def fit(module, *added, epochs=4, path=None, **options):
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        max_epochs=epochs,
        num_sanity_val_steps=0,
        callbacks=[*added],
        **options,
    )
    loader = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=32)
    trainer.fit(module, loader, loader, ckpt_path=path)
    return trainer


def callback(*arguments, **options):
    from foad_plugins import PruneCallback

    return PruneCallback(*arguments, **{"flops": 0.5, "ranking": "local", "measure_latency": False, **options})


def test_the_target_is_reached_in_steps_and_training_continues():
    module, look, pruner = Module(), Look(), callback([1, 3], IMAGES)
    before = count_flops(module.network, IMAGES[:1])
    trainer = fit(module, look, pruner)
    assert look.widths[0] == 8 > look.widths[1] == look.widths[2] > look.widths[3]
    assert len(pruner.reports) == 2
    assert count_flops(module.network, IMAGES[:1]) / before == pytest.approx(0.5, abs=0.06)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01 * 0.5**4)


def test_averages_start_again_from_the_pruned_network():
    average = getattr(pl.callbacks, "EMAWeightAveraging", None)
    if average is None:
        pytest.skip("this PyTorch Lightning has no EMAWeightAveraging")
    module, ema = Module(), average(decay=0.9)
    fit(module, ema, callback(1, IMAGES), epochs=2)
    width = module.network.conv1.out_channels
    assert width < 8
    assert ema._average_model.module.network.conv1.out_channels == width
    # At the end Lightning copies the average, of the two steps after pruning, into the network.
    assert int(ema._average_model.n_averaged) == 2
    kept = dict(ema._average_model.module.network.named_parameters())
    assert all(torch.equal(parameter, kept[name]) for name, parameter in module.network.named_parameters())


def test_an_average_in_the_module_starts_again():
    module = Module(averaged=True)
    fit(module, callback(1, IMAGES), epochs=2)
    assert int(module.averaged.n_averaged) == 2
    assert module.averaged.module.conv1.out_channels == module.network.conv1.out_channels < 8
    assert module.averaged(IMAGES).isfinite().all()


def test_a_training_resumes_with_the_pruned_network(tmp_path):
    module, pruner = Module(), callback(1, IMAGES)
    fit(module, pruner, epochs=2).save_checkpoint(tmp_path / "half.ckpt")
    save_pruned(module.network, tmp_path / "network")
    again, second = Module(load_pruned(Chain, tmp_path / "network")), callback(1, IMAGES)
    fit(again, Look(), second, epochs=3, path=tmp_path / "half.ckpt")
    assert second.reports == []
    assert again.network.conv1.out_channels == module.network.conv1.out_channels


class Two(Module):
    def __init__(self):
        super().__init__()
        self.teacher = Chain()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ([[]], {}, ValueError, "at least one epoch"),
        ([-1], {}, ValueError, "counted from 0, got -1"),
        ([1.5], {}, TypeError, "must be integers, got 1.5"),
        ([1], {"flops": 1.5}, ValueError, r"flops must be in \(0, 1\).*got 1.5"),
        ([1], {"params": 0.5}, ValueError, "one of flops and params"),
    ],
)
def test_bad_arguments(arguments, options, error, message):
    with pytest.raises(error, match=message):
        callback(*arguments, IMAGES, **options)


def test_what_cannot_be_pruned_in_a_training_is_refused_at_its_start():
    with pytest.raises(ValueError, match="children with parameters: 'network', 'teacher'"):
        fit(Two(), callback(1, IMAGES))
    with pytest.raises(ValueError, match="network='net' is no module in Module"):
        fit(Module(), callback(1, IMAGES, network="net"))
    with pytest.raises(ValueError, match="use WeightAveraging"):
        fit(Module(), callback(1, IMAGES), pl.callbacks.StochasticWeightAveraging(0.1))


def test_after_an_error_of_pruning_the_module_is_unchanged():
    module = Module()
    with pytest.raises(ValueError, match="does not run"):
        fit(module, callback(0, torch.rand(8, 5, 8, 8)), epochs=1)
    assert module.network.conv1.out_channels == 8
