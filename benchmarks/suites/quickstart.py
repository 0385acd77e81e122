"""The quickstart: five criteria (FOAD with both of its orders) on handwritten digits, in a minute or two."""

from __future__ import annotations

from ..criteria import CriterionSpec
from ..registry import Spec
from ..suite import Conditions, Suite
from ..training import Recipe

__all__ = ["QUICKSTART"]

QUICKSTART = Suite(
    name="quickstart",
    description="a small VGG on scikit-learn's 8x8 digits, pruned to half its FLOPs; nothing is downloaded",
    conditions=Conditions(
        dataset=Spec(name="digits"),
        model=Spec(name="digits-vgg"),
        base_recipe=Recipe(epochs=20, learning_rate=0.05, batch_size=128, weight_decay=5e-3),
        finetune_recipe=Recipe(epochs=5, learning_rate=0.01, batch_size=128, weight_decay=5e-3),
        calibration_images=128,
        flops_reduction=0.5,
    ),
    criteria=(
        CriterionSpec(name="foad"),
        CriterionSpec(name="foad", settings={"order": "backward"}, label="foad-backward"),
        CriterionSpec(name="l1"),
        CriterionSpec(name="hrank"),
        CriterionSpec(name="fpgm"),
        CriterionSpec(name="random"),
    ),
    seeds=3,
)
