"""What a rank does in tests of distributed calibration; run as a script, since a rank is a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch_pruning as tp
from torch import nn

from foad_plugins import FOADImportance
from foad_plugins.calibration.collect import calibrate
from foad_plugins.calibration.data import CalibrationData
from foad_plugins.calibration.observers import ChannelSet, HookPoint


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9), nn.ReLU(), nn.Conv2d(9, 7, 3), nn.ReLU(), nn.Conv2d(7, 4, 3)
    )


def images() -> torch.Tensor:
    return torch.rand(11, 3, 10, 10, generator=torch.Generator().manual_seed(1))


def shares(world: int) -> list[torch.Tensor]:
    """Unequal parts of the images, and none for the last rank."""
    cuts = torch.linspace(0, 1, world).square().mul(11).round().int().tolist()
    return [images()[start:stop] for start, stop in zip(cuts, [*cuts[1:], 11], strict=True)]


def prune(data: object, *, distributed: bool) -> tuple[list[list[int]], dict[str, torch.Tensor]]:
    """The channels removed in two steps, and the weights that are left."""
    model = network()
    importance = FOADImportance(data, distributed=distributed, products=True)
    pruner = tp.pruner.MetaPruner(
        model,
        (images()[:1],),
        importance=importance,
        pruning_ratio=0.5,
        iterative_steps=2,
        ignored_layers=[model[5]],
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
    )
    removed = []
    for _ in range(2):
        for group in pruner.step(interactive=True):
            removed.append([int(i) for i in group[0].idxs])
            group.prune()
    return removed, model.state_dict()


def statistics(data: object, *, distributed: bool) -> list[torch.Tensor | int]:
    model = network()
    read = ChannelSet("conv", 9, (HookPoint(model[3], "input"),))
    (similarity,), (gram,) = calibrate(model, CalibrationData(data, distributed=distributed), [read], [read])
    return [similarity.compute(), similarity.count, gram.compute(), gram.samples]


def scenarios(rank: int, world: int) -> dict[str, Callable[[], object]]:
    """What is done together, by name."""
    part = shares(world)[rank]
    mine = list(part.split(2)) if len(part) else []
    wrong = [torch.rand(2, 5, 10, 10)] if rank == 0 else [images()]
    other = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 3)) if rank == 0 else network()
    consumer = other[1] if rank == 0 else other[3]
    reads = [ChannelSet("conv", consumer.in_channels, (HookPoint(consumer, "input"),))]
    return {
        "prune": lambda: prune(mine, distributed=True),
        "statistics": lambda: statistics(mine, distributed=True),
        "no images": lambda: statistics([], distributed=True),
        "not finite": lambda: statistics([images() * (float("nan") if rank == 0 else 1)], distributed=True),
        "wrong images": lambda: FOADImportance(wrong, distributed=True).calibrate(network()),
        "other models": lambda: calibrate(other, CalibrationData([images()], distributed=True), reads),
    }


def main() -> None:
    folder, rank, world = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=world)
    results: dict[str, object] = {}
    for name, scenario in scenarios(rank, world).items():
        try:
            results[name] = scenario()
        except Exception as error:
            results[name] = f"{type(error).__name__}: {error}"
    torch.save(results, folder / f"results{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
