"""What a training without labels did, as data that prints itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .trainer import Measurement, Trainer

__all__ = ["RecoveryReport", "report_of"]


@dataclass(frozen=True)
class RecoveryReport:
    """What :func:`~foad_plugins.recover` did.

    Attributes:
        loss_before: loss of the outputs on the images that were left out, in eval mode, before the training.
        loss_after: the same for the network as it is now.
        history: all measurements, the one before the training first; empty where nothing was trained.
        kept: which state the network has now: ``"last"``, ``"best"`` of all measured, or ``"first"``, the state
            from before the training, because training did not lower the loss.
        kept_step: number of steps after which the network had this state.
        steps: optimizer steps done.
        epochs: passes over the training images.
        seconds: wall-clock time of the training, measurements included.
        images: number of training images; None where the data does not tell.
        left_out: number of batches that were left out to measure on.
        loss: name of the loss.
        feature_layers: layers whose outputs were compared too.
        optimizer: class name of the optimizer.
        batch_statistics: whether batch normalization was trained with statistics of batches.
    """

    loss_before: float
    loss_after: float
    history: tuple[Measurement, ...]
    kept: Literal["last", "best", "first"]
    kept_step: int
    steps: int
    epochs: float
    seconds: float
    images: int | None
    left_out: int
    loss: str
    feature_layers: tuple[str, ...]
    optimizer: str
    batch_statistics: bool

    def __str__(self) -> str:
        if not self.steps:
            return "recovery: nothing was trained (0 steps)"
        images = "" if self.images is None else f" of {self.images:,} images"
        layers = f"outputs and {len(self.feature_layers)} feature maps" if self.feature_layers else "outputs alone"
        statistics = "statistics of batches" if self.batch_statistics else "frozen statistics"
        lines = [
            f"recovery: {self.steps:,} steps ({self.epochs:.3g} epochs{images}) in {self.seconds:.1f} s, "
            f"{self.optimizer}, BN with {statistics}",
            f"  loss ({self.loss}, {layers}) of the outputs on images left out: "
            f"{self.loss_before:.4g} before, {self.loss_after:.4g} after",
        ]
        if self.kept == "first":
            lines.append("  training did not lower this loss: the network has the state from before it")
        elif self.kept == "best":
            lines.append(f"  the network has the best state, that of step {self.kept_step:,}")
        scores = [one.score for one in self.history if one.score is not None]
        if scores:
            lines.append(
                f"  validation: {scores[0]:.4g} before, {scores[-1]:.4g} at the end, {max(scores):.4g} at best"
            )
        return "\n".join(lines)


def report_of(trainer: Trainer, loss: str, *, keep_best: bool) -> RecoveryReport:
    """Decide which state the network has after a training, load it, and report.

    Args:
        trainer: at its end.
        loss: name of the loss.
        keep_best: the best state of all measured is kept; else the last one, if it is not worse than the first.
    """
    history = trainer.history
    kept: Literal["last", "best", "first"] = "last"
    measured = history[-1]
    if keep_best and trainer.best is not measured:
        kept, measured = ("first" if trainer.best is history[0] else "best"), trainer.best
        trainer.load_best()
    elif not keep_best and measured.loss > history[0].loss:
        kept, measured = "first", history[0]
        trainer.load_first()
    return RecoveryReport(
        loss_before=history[0].loss,
        loss_after=measured.loss,
        history=tuple(history),
        kept=kept,
        kept_step=measured.step,
        steps=trainer.step,
        epochs=trainer.step / trainer.data.per_epoch,
        seconds=trainer.seconds,
        images=trainer.data.images,
        left_out=len(trainer.data.left_out),
        loss=loss,
        feature_layers=trainer.comparison.feature_layers,
        optimizer=type(trainer.optimizer).__name__,
        batch_statistics=trainer.batch_statistics,
    )
