"""Every criterion with and without compensation, on the FOAD authors' ResNet-56 for CIFAR-10."""

from __future__ import annotations

from typing import Any

from ..criteria import CriterionSpec
from ..registry import Spec
from ..suite import Conditions, Suite
from ..training import Recipe

__all__ = ["COMPENSATION", "QUARTER"]


def _pair(label: str, name: str, label_compensated: str = "", **settings: Any) -> tuple[CriterionSpec, CriterionSpec]:
    """A criterion without and with least-squares compensation."""
    plain = CriterionSpec(name=name, settings=settings, label=label, reestimate_bn=True)
    compensated = {"label": label_compensated or f"{label}+ls", "compensate": "least_squares"}
    return plain, plain.model_copy(update=compensated)


_ENTRIES = (
    # Compensated, this is what prune(model, images, flops=...) does when nothing else is said.
    *_pair("foad-reconstruction", "foad", "foad", order="reconstruction"),
    *_pair("foad-rounds", "foad", order="rounds"),
    *_pair("foad-backward", "foad", order="backward"),
    *_pair("l1", "l1"),
    *_pair("fpgm", "fpgm"),
    *_pair("hrank", "hrank"),
    *_pair("random", "random"),
)


def _conditions(flops_reduction: float, epochs: int) -> Conditions:
    return Conditions(
        dataset=Spec(name="cifar10-npz"),
        model=Spec(name="foad-resnet56"),
        base_weights="weights/resnet56_cifar10.safetensors",
        # Of 0.003, 0.01 and 0.03 the rate with the best mean over foad and l1, seed 0, at half the FLOPs. Batches of
        # 40 leave 28 of 8,068 images for the last step: BN would remember a batch of 4.
        finetune_recipe=Recipe(epochs=epochs, learning_rate=0.01, batch_size=40, augmentation="crop-flip"),
        calibration_images=128,
        flops_reduction=flops_reduction,
        tolerance=0.01,
    )


COMPENSATION = Suite(
    name="cifar10-resnet56-compensation",
    description="every criterion with and without compensation, ResNet-56 for CIFAR-10, half the FLOPs; needs data",
    conditions=_conditions(flops_reduction=0.5, epochs=1),
    criteria=_ENTRIES,
    seeds=3,
    reference="foad",
)

QUARTER = Suite(
    name="cifar10-resnet56-quarter",
    description="the same with a quarter of the FLOPs gone and without fine-tuning; needs data",
    conditions=_conditions(flops_reduction=0.25, epochs=0),
    criteria=_ENTRIES,
    seeds=3,
    reference="foad",
)
