"""``foad export``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from ...export import export_model
from .models import build_model, image_channels, torchvision_name
from .outputs import check_outputs
from .preprocessing import preprocessing_for
from .weights import find_weights, load_weights

__all__ = ["run_export"]


def run_export(arguments: argparse.Namespace) -> int:
    """Export a model with random images as its inputs, and print what was written."""
    name = torchvision_name(arguments.model)
    weights = None if arguments.as_built else find_weights(arguments.weights, name)
    file = weights if isinstance(weights, Path) else None
    check_outputs({"--out": arguments.out}, [] if file is None else [file])
    preprocessing = preprocessing_for(name, weights if file is None else None).changed(arguments.size)
    model = build_model(arguments.model, None if file else weights, arguments.num_classes, progress=not arguments.quiet)
    if file is not None:
        read = load_weights(model, file)
        if not arguments.quiet:
            print(f"weights: {read}", file=sys.stderr)
    height, width = preprocessing.crop or (224, 224)
    channels = arguments.channels or image_channels(model) or 3
    images = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    print(export_model(model, images, arguments.out))
    return 0
