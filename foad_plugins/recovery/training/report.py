"""What a training without labels did, as data that prints itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .trainer import Measurement

__all__ = ["RecoveryReport"]


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
