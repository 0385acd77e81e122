"""Training a pruned network without labels: it learns the outputs and feature maps of the original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..calibration.data import ForwardFn, check_data, model_device
from ..calibration.distributed import raise_on_all_ranks
from ..calibration.preserve import check_model, force_eager
from ..calibration.tuples import tuple_as_batches
from ..utils.devices import usable_device
from ..utils.warnings import NoEffectWarning, warn
from .training.comparison import Comparison, OutputTransform
from .training.data import training_data
from .training.distillation import OutputLoss, output_loss
from .training.preparation import checked_comparison, connect_checkpoint, make_trainer
from .training.random_state import isolated_random, seed_everything
from .training.ranks import rank_and_size
from .training.report import RecoveryReport, report_of
from .training.settings import OptimizerFactory, TrainingSettings, Transform, check_number
from .training.trainer import RecoveryDivergedError
from .training.weights import working_weights

__all__ = ["RecoveryDivergedError", "recover"]


# Parameters made in inference mode could not be trained.
@torch.inference_mode(False)
@torch.enable_grad()
def recover(
    model: nn.Module,
    original: nn.Module,
    data: Any,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    loss: str | OutputLoss = "auto",
    temperature: float = 2.0,
    feature_layers: str | Sequence[str] = "auto",
    feature_weight: float = 1.0,
    batch_size: int = 128,
    optimizer: str | OptimizerFactory = "auto",
    learning_rate: float | None = None,
    warmup: float = 0.1,
    weight_decay: float = 1e-4,
    clip_norm: float | None = None,
    ema: float | None = None,
    freeze_bn: bool | None = None,
    crop: float = 0.125,
    flip: bool = True,
    brightness: float = 0.0,
    transform: Transform | None = None,
    precision: str = "float32",
    device: torch.device | str | None = None,
    channels_last: bool = False,
    left_out: int | None = None,
    measure_every: int | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    keep_best: bool = False,
    keep_best_on_error: bool = False,
    checkpoint: str | Path | None = None,
    distributed: bool | None = None,
    seed: int = 0,
    forward_fn: ForwardFn | None = None,
    output_transform: OutputTransform | None = None,
    progress: bool = False,
) -> RecoveryReport:
    """Train a pruned network in place to give the outputs of the original one; labels are not used.

    A part of the images is left out and the loss of the outputs on it is measured before, during and after the
    training. The network has the better state of before and after. It is trained in eval mode (without dropout),
    except for batch normalization. Everything random is decided by ``seed``, and the global generators are unchanged.

    On an exception or Ctrl-C the network is unchanged; see ``keep_best_on_error``. Parameters are the same objects with
    the same storage as before. To train after each step of pruning, call it in the callback of :func:`prune`:
    ``prune(model, data, flops=0.5, steps=4, callback=lambda model, step: recover(model, original, data, epochs=1))``.

    Args:
        model: the pruned network; only parameters with ``requires_grad`` are trained.
        original: the network before pruning, in eval mode; not changed.
        data: unlabeled images as for :func:`prune`. Labels in ``(batch, label)`` pairs are ignored. The dataset of a
            ``DataLoader`` is read in an order and in batches of our own; an iterable, or a loader with a sampler of its
            own, keeps its batches, of which the first ones are left out.
        epochs: passes over the training images, fractions allowed. 0 does nothing. Default: 5, and at least 300 steps.
        steps: optimizer steps, instead of ``epochs``.
        loss: of each floating-point output tensor: ``"mse"``, the squared error over the original output's variance;
            ``"kl"`` for logits (N, classes, ...), the divergence of softened probabilities; ``"cosine"`` for
            embeddings (N, D); or a function of (output, target) that returns a tensor of shape (). ``"auto"`` is
            ``"mse"``, which fits outputs of any kind.
        temperature: of ``"kl"``, above 0.
        feature_layers: names of layers whose outputs are compared too, by squared error over the variance; ``*`` in a
            name stands for anything but a dot. ``"auto"`` takes the blocks and layers that pruning did not make
            narrower, such as those of a residual stream; ``()`` takes none.
        feature_weight: what the mean loss over these layers is multiplied by, at least 0.
        batch_size: images in a batch, at least 1.
        optimizer: ``"sgd"`` with Nesterov momentum 0.9, ``"adamw"``, or a function of parameter groups such as
            ``torch.optim.RMSprop``. ``"auto"`` is SGD where batch normalization uses statistics of batches, else AdamW.
        learning_rate: the highest, above 0. Default: 0.02 for SGD, 0.001 for AdamW, the optimizer's own for a function.
        warmup: share of the steps in which the learning rate rises, in [0, 1); it then falls to 0 along a cosine.
        weight_decay: of weights with two or more dimensions, at least 0.
        clip_norm: the gradient's norm is clipped to this, above 0; None does not clip.
        ema: the result is the exponential moving average of the weights with this decay, in [0, 1); None for none.
        freeze_bn: whether batch normalization keeps its running statistics and uses them. None freezes them with fewer
            than 1,024 training images.
        crop: images (N, C, H, W) are shifted by up to this share of their longer side, in [0, 1).
        flip: images are mirrored with probability one half.
        brightness: images are multiplied by a factor in ``1 ± brightness``, and their channels shifted by up to
            ``± brightness`` in units of the input.
        transform: called with a batch's input tensor instead of crop, flip and brightness.
        precision: ``"float32"``, or ``"bf16"`` for autocast to bfloat16; measurements are in float32.
        device: where to train; None is the model's device. The model returns to its own device.
        channels_last: train with channels last in memory.
        left_out: number of images to leave out. Default: a tenth, at most 256.
        measure_every: steps between two measurements. Default: one epoch, and at most 20 measurements.
        validate: called with the network at each measurement; returns a score, higher is better. It may use labels.
        keep_best: keep the state with the best score (without ``validate``, with the lowest loss) of all measured.
        keep_best_on_error: keep that state on an exception or Ctrl-C too.
        checkpoint: a file that the state is written to at each measurement. If it is there, training continues from
            it, with the same result as without a break. It is kept in the end.
        distributed: train together with the other ranks of ``torch.distributed``, each on its own data; all ranks must
            make the call. None does so where a process group is initialized.
        seed: of the order of images and their augmentation, at least 0.
        forward_fn: called as ``forward_fn(network, batch)`` instead of the network itself.
        output_transform: called with what a network returns; the tensors in its result are compared.
        progress: show a progress bar.

    Returns:
        The losses, steps and seconds; print it.

    Raises:
        TypeError: data or an argument of another form.
        ValueError: an argument out of its range; no images or only one; images that the networks do not take; outputs
            that differ in shape or hold no floating-point tensor; an original in train mode; nothing to train; a device
            that is not there; a checkpoint of another training.
        RecoveryDivergedError: the loss became NaN or infinite; the network has the best state so far.
        RuntimeError: another rank failed.

    Warns:
        NoEffectWarning: nothing was trained, because ``epochs`` or ``steps`` is 0.
    """
    settings = TrainingSettings(
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        warmup=warmup,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
        ema=ema,
        freeze_bn=freeze_bn,
        crop=crop,
        flip=flip,
        brightness=brightness,
        transform=transform,
        precision=precision,
        channels_last=channels_last,
        left_out=left_out,
        measure_every=measure_every,
        seed=seed,
    )
    settings.check()
    check_number("feature_weight", feature_weight, 0)
    check_number("temperature", temperature, 0, exclusive=True)
    _check_networks(model, original)
    check_data(data)
    if forward_fn is None:
        data = tuple_as_batches(model, data)
    comparison = Comparison(
        model,
        original,
        output_loss(loss, temperature),
        feature_weight=feature_weight,
        forward_fn=forward_fn,
        output_transform=output_transform,
        autocast=precision == "bf16",
    )
    place, moves = _device(device, model)
    rank, ranks = rank_and_size(distributed)
    layout = torch.channels_last if channels_last else torch.preserve_format
    with ExitStack() as stack:
        stack.enter_context(isolated_random(place))
        for network in (original, model):
            stack.enter_context(force_eager(network))
        # The fused path of attention in eval mode passes by the layers inside.
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(working_weights(original, moves, layout, share=True))
        weights = stack.enter_context(working_weights(model, moves, layout))
        seed_everything(seed)
        with raise_on_all_ranks(ranks > 1):
            images = training_data(
                data, batch_size=batch_size, device=place, left_out=left_out, whole_batches=forward_fn is not None
            )
            comparison = checked_comparison(
                comparison, images.left_out[0], feature_layers, transformed=transform is not None
            )
        trainer = make_trainer(comparison, images, settings, weights, place, rank, ranks, validate)
        name = loss if isinstance(loss, str) else "a function"
        if checkpoint is not None:
            connect_checkpoint(trainer, Path(checkpoint), {"loss": name, "temperature": temperature})
        try:
            trainer.run(progress=progress and rank == 0)
        except BaseException as error:
            if (keep_best_on_error or isinstance(error, RecoveryDivergedError)) and trainer.history:
                trainer.load_best()
                weights.accept()
            raise
        report = report_of(trainer, name, keep_best=keep_best)
        weights.accept()
    if not report.steps:
        warn(f"nothing was trained: {'epochs' if steps is None else 'steps'} is 0", NoEffectWarning)
    return report


def _check_networks(model: nn.Module, original: nn.Module) -> None:
    check_model(model)
    if not isinstance(original, nn.Module):
        raise TypeError(f"original must be a torch.nn.Module, got {type(original).__name__}")
    shared = {id(parameter) for parameter in original.parameters()}
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("model has nothing to train: requires_grad is False for all its parameters")
    if model is original or any(id(parameter) in shared for parameter in model.parameters()):
        raise ValueError("original shares parameters with model: make a copy.deepcopy of it before pruning")
    for name, module in original.named_modules():
        if module.training:
            where = f"its layer {name!r} is" if name else "it is"
            raise ValueError(f"original must be in eval mode, but {where} in train mode: call original.eval()")


def _device(device: torch.device | str | None, model: nn.Module) -> tuple[torch.device, torch.device | None]:
    """Where the images go, and where the networks do; None leaves a model that lies on several devices there."""
    if device is None:
        devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
        place = model_device(model) or torch.device("cpu")
        return place, place if len(devices) == 1 else None
    place = usable_device(device)
    return place, place
