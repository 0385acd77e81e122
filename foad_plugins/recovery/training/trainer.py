"""The steps of a training without labels, and the best state on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm.auto import tqdm

from ...calibration.data import Call
from ...calibration.distributed import raise_on_all_ranks
from .augmentation import color_jitter, crop_and_flip
from .comparison import Comparison
from .data import TrainingData
from .random_state import seed_everything, seed_of
from .ranks import average_gradients, average_tensors
from .schedule import learning_rate_factor
from .settings import TrainingSettings
from .weights import WorkingWeights

__all__ = ["Measurement", "RecoveryDivergedError", "Trainer"]


class RecoveryDivergedError(RuntimeError):
    """The loss of a training became NaN or infinite."""


@dataclass(frozen=True)
class Measurement:
    """What was measured after some steps.

    Attributes:
        step: number of steps done.
        train_loss: mean loss of the training batches since the measurement before, feature maps included; NaN at step
            0.
        loss: loss of the outputs on the images that are left out.
        score: what ``validate`` returned; None without it.
    """

    step: int
    train_loss: float
    loss: float
    score: float | None = None


@dataclass(eq=False)
class Trainer:
    """Trains a network to give the outputs of another one.

    Attributes:
        comparison: the networks and the loss.
        data: the training images.
        settings: checked.
        optimizer: of the network's parameters.
        weights: the network's values.
        steps: to train for.
        measure_every: steps between two measurements.
        batch_statistics: batch normalization uses statistics of batches and updates its running ones.
        device: where the network is.
        rank: of this process.
        ranks: number of processes that train together.
        validate: gives a score of the network, higher is better.
        save: called with the state after each measurement.
    """

    comparison: Comparison
    data: TrainingData
    settings: TrainingSettings
    optimizer: torch.optim.Optimizer
    weights: WorkingWeights
    steps: int
    measure_every: int
    batch_statistics: bool
    device: torch.device
    rank: int = 0
    ranks: int = 1
    validate: Callable[[nn.Module], float] | None = None
    save: Callable[[dict[str, Any]], None] | None = None

    def __post_init__(self) -> None:
        self.step, self.seconds = 0, 0.0
        self.history: list[Measurement] = []
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self._parameters = [one for group in self.optimizer.param_groups for one in group["params"]]
        self._average = self.weights.snapshot() if self.settings.ema is not None else None
        self._first = self._best = self.weights.snapshot()
        self._best_index = 0

    @property
    def best(self) -> Measurement:
        """The measurement with the highest score, or with the lowest loss where there is no score."""
        return self.history[self._best_index]

    def run(self, *, progress: bool = False) -> None:
        """Train from the present state to the end; afterwards the network has the last state.

        Raises:
            RecoveryDivergedError: the loss became NaN or infinite.
        """
        since, start = time.perf_counter(), self.seconds
        if not self.history:
            self._measure(math.nan)
        batches = self.data.batches(seed_of(self.settings.seed, self.rank), self.step)
        total, count = torch.zeros((), device=self.device), 0
        self._set_mode()
        with tqdm(total=self.steps, initial=self.step, desc="recovery", disable=not progress, leave=False) as bar:
            while self.step < self.steps:
                total, count = total + self._advance(batches), count + 1
                at_end = self.step % self.measure_every == 0 or self.step == self.steps
                # On a GPU the host must not wait at every step.
                if (at_end or self.device.type == "cpu" or count % 20 == 0) and not math.isfinite(total):
                    raise self._diverged(float(total / count))
                if at_end:
                    self._measure(float(total / count))
                    total, count = torch.zeros_like(total), 0
                    self.seconds = start + time.perf_counter() - since
                    if self.save is not None:
                        self.save(self.state())
                    self._set_mode()
                    bar.set_postfix(loss=f"{self.history[-1].loss:.4g}")
                bar.update()
        self.seconds = start + time.perf_counter() - since
        if self._average is not None:
            self.weights.load(self._average)

    def load_best(self) -> None:
        """Give the network the state of the best measurement."""
        self.weights.load(self._best)

    def load_first(self) -> None:
        """Give the network the state from before the training."""
        self.weights.load(self._first)

    def state(self) -> dict[str, Any]:
        """All that decides the rest of the training, as tensors and plain values."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "history": [astuple(one) for one in self.history],
            "best_index": self._best_index,
            "weights": self.weights.snapshot(),
            "average": self._average,
            "first": self._first,
            "best": self._best,
            "optimizer": self.optimizer.state_dict(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from a state that :meth:`state` gave."""
        self.step, self.seconds = state["step"], state["seconds"]
        self.history = [Measurement(*values) for values in state["history"]]
        self._best_index = state["best_index"]
        self.weights.load(state["weights"])
        self._first, self._best = self._placed(state["first"]), self._placed(state["best"])
        self._average = None if state["average"] is None else self._placed(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _placed(self, values: Sequence[Tensor]) -> list[Tensor]:
        return [value.to(tensor.device) for value, tensor in zip(values, self.weights.tensors, strict=True)]

    def _advance(self, batches: Iterator[Call]) -> Tensor:
        """One step; its loss, the mean over the ranks."""
        seed_everything(seed_of(self.settings.seed, self.rank, self.step, 1))
        factor = learning_rate_factor(self.step, self.steps, int(self.settings.warmup * self.steps))
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.zero_grad(set_to_none=True)
        try:
            loss = self.comparison.training_loss(self._augmented(next(batches)))
            loss.backward()
        except BaseException:
            if self.ranks > 1:
                average_gradients(self._parameters, None, self.device)
            raise
        mean = loss.detach()
        if self.ranks > 1:
            mean = average_gradients(self._parameters, mean, self.device)
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self.settings.clip_norm)
        self.optimizer.step()
        self.step += 1
        if self._average is not None:
            self._update_average()
        return mean

    @torch.no_grad()
    def _update_average(self) -> None:
        assert self._average is not None
        assert self.settings.ema is not None
        # A short memory at first, so that the state from before the training is soon forgotten.
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        for average, tensor in zip(self._average, self.weights.tensors, strict=True):
            if average.is_floating_point():
                average.lerp_(tensor, 1 - decay)
            else:
                average.copy_(tensor)

    def _measure(self, train_loss: float) -> None:
        model = self.comparison.model
        model.eval()
        if self.ranks > 1:
            for values in (self.weights.tensors, self._average or []):
                pairs = zip(self.weights.tensors, values, strict=False)
                average_tensors([value for tensor, value in pairs if not isinstance(tensor, nn.Parameter)])
        with self._averaged():
            with raise_on_all_ranks(self.ranks > 1):
                measured = self.comparison.output_loss(self.data.left_out).to(self.device)
                score = None if self.validate is None else _checked_score(self.validate(model))
            if self.ranks > 1:
                numbers = torch.stack([measured.double(), measured.new_tensor(score or 0.0, dtype=torch.float64)])
                average_tensors([numbers])
                measured, score = numbers[0], None if score is None else float(numbers[1])
            loss = float(measured)
            if not math.isfinite(loss):
                if self.history:
                    raise self._diverged(loss)
                raise ValueError(f"the outputs of model and original must be finite; the loss between them is {loss}")
            self.history.append(Measurement(self.step, train_loss, loss, score))
            if len(self.history) > 1 and self._is_better(self.history[-1], self.best):
                self._best, self._best_index = self.weights.snapshot(), len(self.history) - 1

    def _is_better(self, one: Measurement, other: Measurement) -> bool:
        if one.score is not None and other.score is not None:
            return one.score > other.score
        return one.loss < other.loss

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The average of the weights takes the place of the last ones inside."""
        if self._average is None:
            yield
            return
        last = self.weights.snapshot()
        self.weights.load(self._average)
        try:
            yield
        finally:
            self.weights.load(last)

    def _diverged(self, loss: float) -> RecoveryDivergedError:
        return RecoveryDivergedError(
            f"the loss became {loss} at step {self.step} of {self.steps}: try a lower learning_rate or clip_norm=1.0; "
            f"the network has the best state so far, that of step {self.best.step} (loss {self.best.loss:.4g})"
        )

    def _set_mode(self) -> None:
        """Eval mode, so that the network gives what it gives in use; batch normalization alone may train."""
        self.comparison.model.eval()
        if self.batch_statistics:
            for module in self.comparison.model.modules():
                if isinstance(module, _BatchNorm):
                    module.train()

    def _augmented(self, call: Call) -> Call:
        images, settings = call.args[0] if call.args else None, self.settings
        if not isinstance(images, Tensor) or len(call.args) > 1 or call.kwargs:
            return call
        if settings.transform is not None:
            images = settings.transform(images)
        elif images.dim() == 4 and images.is_floating_point():
            drawn = torch.Generator().manual_seed(seed_of(settings.seed, self.rank, self.step, 2))
            padding = round(settings.crop * max(images.shape[2:]))
            if padding or settings.flip:
                images = crop_and_flip(images, drawn, padding, flips=settings.flip)
            if settings.brightness:
                images = color_jitter(images, drawn, settings.brightness)
        if settings.channels_last and images.dim() == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        whole = isinstance(call.batch, Tensor)
        return Call((images,), images if whole else (images, *call.batch[1:]))


def _checked_score(value: Any) -> float:
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if math.isnan(score):
        raise TypeError(f"validate must return a number, got {value!r}")
    return score
