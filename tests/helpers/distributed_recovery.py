"""What a rank does in tests of training on several ranks; run as a script, since a rank is a process of its own."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from foad_plugins import recover
from tests.networks.residual_networks import ResidualNet, narrowed

IMAGES = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def networks() -> tuple[ResidualNet, ResidualNet]:
    torch.manual_seed(0)
    original = ResidualNet()
    for _ in range(40):  # running statistics that are those of the images
        original(IMAGES)
    original.eval()
    return narrowed(original, 3), original


def one_step(rank: int | None) -> dict[str, Tensor]:
    """The weights after a step on the same images by one process (None) or by two ranks."""
    model, original = networks()
    # Of a list of two unlike batches the first is left out, and the other one is trained on.
    parts = {None: IMAGES, 0: IMAGES[:12], 1: IMAGES[12:]}
    data = [(IMAGES[:4], 0), (parts[rank], 0)]
    sgd = {"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.1), "warmup": 0.0, "loss": nn.functional.mse_loss}
    plain = {"transform": lambda images: images, "feature_layers": (), "freeze_bn": True}
    recover(model, original, data, steps=1, forward_fn=lambda network, batch: network(batch[0]), **sgd, **plain)
    return model.state_dict()


def together(rank: int) -> dict[str, Any]:
    model, original = networks()
    if rank:
        nn.init.zeros_(model.head.weight)  # rank 0's weights count
    report = recover(
        model, original, IMAGES[rank::2], steps=8, batch_size=4, freeze_bn=False, ema=0.5, learning_rate=1e-3
    )
    return {"weights": model.state_dict(), "losses": [one.loss for one in report.history]}


def failing(data: Any, **options: Any) -> dict[str, Any]:
    model, original = networks()
    before = copy.deepcopy(model.state_dict())
    error = ""
    try:
        recover(model, original, data, steps=4, batch_size=4, **options)
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
    same = all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    return {"error": error, "unchanged": same}


def scenarios(rank: int) -> dict[str, Callable[[], object]]:
    """What is done together, by name."""

    def fail(value: Any) -> Any:
        if rank == 0:
            raise ValueError("of this rank")
        return value

    return {
        "one step": lambda: one_step(rank),
        "together": lambda: together(rank),
        "fails in a step": lambda: failing(IMAGES, transform=fail),
        "fails in a measurement": lambda: failing(IMAGES, validate=lambda network: fail(0.0)),
        "has no images": lambda: failing([] if rank == 0 else IMAGES),
    }


def main() -> None:
    folder, rank, world = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=world)
    torch.save({name: scenario() for name, scenario in scenarios(rank).items()}, folder / f"results{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
