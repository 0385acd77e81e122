"""A callback that prunes a network at given epochs of its training."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel

from ...report.prune_report import PruneReport
from ...utils.extras import require_extra
from ..prune.api import prune
from .optimizers import optimizers_updated

require_extra("PruneCallback needs PyTorch Lightning", "lightning", {"pytorch_lightning": "pytorch-lightning>=2.4"})

import pytorch_lightning as pl  # noqa: E402 - after the check that it is there
from pytorch_lightning import callbacks  # noqa: E402
from pytorch_lightning.utilities import rank_zero_info  # noqa: E402

__all__ = ["PruneCallback"]


class PruneCallback(pl.Callback):
    """Prune a network at the start of given epochs; the training between them is the fine-tuning.

    With several epochs, ``flops`` or ``params`` is reached in equal steps, the last of them at the last epoch.
    Optimizers are given the new parameters. Momentum and other state keep the entries of the kept channels. Averages
    of weights (``WeightAveraging`` and ``EMAWeightAveraging`` of Lightning, or an ``AveragedModel`` of the network in
    the module) start again from the pruned network. Learning rate schedules continue.

    To resume from a checkpoint that Lightning wrote after pruning, give the module a network of the pruned structure,
    from :func:`~foad_plugins.load_pruned`; what was pruned before is not pruned again.

    Args:
        epochs: at whose start to prune; counted from 0, as Lightning does.
        data: calibration data, as for :func:`~foad_plugins.prune`.
        network: dotted name of the network in the LightningModule; None for its only child with parameters.
        flops: share of the FLOPs of the network before the first step to keep, in (0, 1).
        params: the same for parameters; one of the two is needed.
        options: more options of :func:`~foad_plugins.prune`, used in each step.

    Attributes:
        reports: one for each step that was done.

    Raises:
        ImportError: PyTorch Lightning is not installed.
        TypeError: an epoch is no integer.
        ValueError: no epoch, or one below 0; none or both of ``flops`` and ``params``. From ``Trainer.fit``: the
            network cannot be found, there are several processes, or a callback averages weights in another way; and
            what :func:`~foad_plugins.prune` raises, with network and optimizers unchanged.
    """

    def __init__(
        self,
        epochs: int | Iterable[int],
        data: Any,
        *,
        network: str | None = None,
        flops: float | None = None,
        params: float | None = None,
        **options: Any,
    ) -> None:
        self.epochs = _checked_epochs(epochs)
        if (flops is None) == (params is None):
            raise ValueError(f"give one of flops and params, got flops={flops!r}, params={params!r}")
        self._kind, share = ("flops", flops) if params is None else ("params", params)
        if not isinstance(share, float) or not 0 < share < 1:
            raise ValueError(f"{self._kind} must be in (0, 1), the share to keep, got {share!r}")
        self._share = share
        self.data, self.network, self.options = data, network, options
        self.reports: list[PruneReport] = []
        self._sizes: list[int] = []
        """In the unit of the target: before the first step, and after each step."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check, before the training starts, that the network can be pruned in it."""
        if stage != "fit":
            return
        self._find(pl_module)
        if trainer.world_size > 1:
            raise ValueError(f"PruneCallback works in one process, and the trainer has {trainer.world_size}")
        for each in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(each, callbacks.StochasticWeightAveraging):
                raise ValueError("PruneCallback does not know StochasticWeightAveraging: use WeightAveraging")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prune, if this is one of the epochs."""
        done = max(len(self._sizes) - 1, 0)
        if done == len(self.epochs) or trainer.current_epoch < self.epochs[done]:
            return
        network = self._find(pl_module)
        share = 1 - (1 - self._share) * (done + 1) / len(self.epochs)
        if self._sizes:
            share *= self._sizes[0] / self._sizes[-1]
        with optimizers_updated(network, trainer.optimizers) as reset:
            options: dict[str, Any] = {self._kind: share, **self.options}
            report = prune(network, self.data, **options)
        self.reports.append(report)
        before, after = (getattr(report, f"{self._kind}_{when}") for when in ("before", "after"))
        self._sizes = [*(self._sizes or [before]), after]
        _restart_averages(trainer, pl_module, network)
        rank_zero_info(f"epoch {trainer.current_epoch}: {self._kind} of the network {before:,} -> {after:,}")
        if reset:
            rank_zero_info(f"optimizer state was reset for {', '.join(reset)}")

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed training does not prune again."""
        return {"sizes": self._sizes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        self._sizes = list(state_dict["sizes"])

    def _find(self, module: pl.LightningModule) -> nn.Module:
        if self.network is not None:
            try:
                return module.get_submodule(self.network)
            except AttributeError as error:
                raise ValueError(f"network={self.network!r} is no module in {type(module).__name__}") from error
        found = [
            name
            for name, child in module.named_children()
            if not isinstance(child, AveragedModel) and next(child.parameters(), None) is not None
        ]
        if len(found) != 1:
            names = ", ".join(map(repr, found)) or "none"
            raise ValueError(f"name the network to prune with network=; children with parameters: {names}")
        return module.get_submodule(found[0])


def _checked_epochs(epochs: int | Iterable[int]) -> Sequence[int]:
    given = list(epochs) if isinstance(epochs, Iterable) else [epochs]
    if not all(type(epoch) is int for epoch in given):
        raise TypeError(f"epochs must be integers, got {epochs!r}")
    if not given or min(given) < 0:
        raise ValueError(f"epochs must be at least one epoch, counted from 0, got {epochs!r}")
    return sorted(set(given))


def _restart_averages(trainer: pl.Trainer, module: pl.LightningModule, network: nn.Module) -> None:
    """Averages of weights of another shape cannot be continued."""
    structure = [name for name, _ in network.named_modules()]
    for each in list(module.modules()):
        if isinstance(each, AveragedModel) and [name for name, _ in each.module.named_modules()] == structure:
            device = next(each.module.parameters()).device
            each.module = copy.deepcopy(network).to(device)
            each.n_averaged.zero_()
    # Before version 2.6 there is no such callback.
    kind: Any = getattr(callbacks, "WeightAveraging", None)
    for each in trainer.callbacks if kind is not None else ():  # type: ignore[attr-defined]
        if isinstance(each, kind):
            each.setup(trainer, module, "fit")
