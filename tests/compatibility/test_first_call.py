"""Models that change themselves at their first call work after they were measured and pruned."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foad_plugins import FOADImportance, count_flops, prune

IMAGES = torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class _HooksAtFirstCall(nn.Module):
    """Registers a hook at its first call, remembers that it did, and fails without it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.c1, self.c2, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Linear(16, 4)
        self.kind, self.ready = kind, False

    def forward(self, x):
        if not self.ready:
            if self.kind == "forward":
                self.c1.register_forward_hook(lambda module, args, output: self.kept.append(output))
            else:
                self.c2.register_forward_pre_hook(lambda module, args: self.kept.append(args[0]))
            self.ready = True
        self.kept: list[torch.Tensor] = []
        return self.head(self.c2(self.c1(x).relu()).relu().mean((2, 3))), self.kept[0].mean()


@pytest.mark.parametrize("kind", ["forward", "pre"])
@pytest.mark.parametrize(
    "measure",
    [
        lambda model: count_flops(model, IMAGES[:1]),
        lambda model: FOADImportance().calibrate(model, IMAGES),
        lambda model: prune(model, IMAGES, params=0.6),
        lambda model: prune(model, IMAGES, params=0.6, dry_run=True),
    ],
    ids=["count_flops", "calibrate", "prune", "dry_run"],
)
def test_hooks_of_the_first_call_are_kept(kind, measure):
    model = _HooksAtFirstCall(kind).eval()
    measure(model)
    model(IMAGES)


def test_what_fvcore_leaves_is_removed_and_the_models_own_hook_is_kept():
    class Raises(_HooksAtFirstCall):
        def forward(self, x):
            super().forward(x)
            raise RuntimeError("inside")

    model = Raises("forward").eval()
    with pytest.raises(RuntimeError, match="inside"):
        count_flops(model, IMAGES[:1])
    hooks = [hook for module in model.modules() for hook in module._forward_hooks.values()]
    assert len(hooks) == 1
    assert not any(module._forward_pre_hooks for module in model.modules())
