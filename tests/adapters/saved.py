"""Models pruned so that they can be saved, whoever notes the removals."""

from __future__ import annotations

import torch

from foad_plugins import prune
from foad_plugins.adapters.history import Removal, describe, history_of, remember
from foad_plugins.batches import as_calls, one_image


def pruned(model, data, **options):
    """The model, pruned in place by the published rule with its history noted."""
    before, earlier = describe(model), history_of(model)
    report = prune(model, data, **options)
    if history_of(model) is earlier:
        removals = [
            Removal(
                group.name,
                "out",
                tuple(
                    part * group.selection.num_channels + channel
                    for part in range(group.parts)
                    for channel in group.selection.removed
                ),
            )
            for group in report.groups
            if group.selection.removed
        ]
        remember(model, before, one_image(next(as_calls(data))), removals)
    return model


def outputs(model, *inputs, **named):
    """What the model gives in eval mode."""
    model.eval()
    with torch.no_grad():
        return model(*inputs, **named)
