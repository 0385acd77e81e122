"""One network, pruned to a target by one call with no names given, in its own process."""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
import traceback
import warnings
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn

from .... import prune
from ....utils.outputs import output_tensors
from ...files import hash_tensors
from .catalog import Network, catalog

FLOPS = 0.7
IMAGES = 8


def run_target_trial(network: Network, options: dict[str, Any]) -> dict[str, Any]:
    """Prune a network to a share of its FLOPs and check what is left.

    Args:
        network: what to prune.
        options: of ``prune``, besides model, images and target.

    Returns:
        ``flops``: the share that is left; ``params``: the same of the parameters; ``layers``: convolutions and linear
        layers; ``narrowed``: those with fewer channels; ``kept``: those from which no channel could be removed, each
        with the reason;
        ``works``: whether the network gives an output of its old form, in eval mode and of finite values;
        ``unchanged``: after an error, whether the network is bit for bit as it was; ``error``; ``seconds`` of the
        processor.
    """
    model, images = network.build(), network.images(IMAGES)
    found: dict[str, Any] = {}
    expected = _shapes(model, images)
    state = _hash(model)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            report = prune(model, images, flops=FLOPS, measure_latency=False, **options)
        except (ValueError, RuntimeError) as error:
            found["error"] = f"{type(error).__name__}: {error}"
            found["unchanged"] = _hash(model) == state
            found["kept"] = getattr(error, "kept_layers", {})
        else:
            if report.flops_after is not None and report.flops_before is not None:
                found["flops"] = round(report.flops_after / report.flops_before, 4)
            found["params"] = round(report.params_after / report.params_before, 4)
            found["layers"] = len(report.layers)
            found["narrowed"] = sum(layer.after < layer.before for layer in report.layers)
            found["notes"] = list(report.notes)
            found["kept"] = dict(report.kept_layers)
    found["seconds"] = round(time.process_time() - start, 1)
    found["works"] = _shapes(model, images) == expected
    return found


def _shapes(model: nn.Module, images: Tensor) -> list[Any]:
    """Type and shape of each output; where a number of boxes follows from the weights, it does not count."""
    with torch.no_grad():
        output = model(images[:2])
    boxes = isinstance(output, list) and output and isinstance(output[0], dict)
    tensors = output_tensors(output)
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise RuntimeError("the output is not finite")
    return [tuple(tensor.shape)[1 if boxes else 0 :] for tensor in tensors]


def _hash(model: nn.Module) -> object:
    return hash_tensors({**dict(model.named_parameters()), **dict(model.named_buffers())})


def send_result(sender: Connection, network: str, options: dict[str, Any], seconds: float, memory: float) -> None:
    """Run one trial in this process, with limits of its memory in GiB and its processor time, and send its result."""
    most = int(memory * 2**30)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds), math.ceil(seconds) + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    torch.set_num_threads(1)
    try:
        result = run_target_trial(catalog()[network], options)
    except BaseException as error:
        result = {"stopped": "".join(traceback.format_exception(error))[-3000:]}
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sender.send(result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=run_target_trial.__doc__)
    parser.add_argument("network")
    parser.add_argument("--options", default="{}", help="of prune, as JSON")
    given = parser.parse_args()
    print(json.dumps(run_target_trial(catalog()[given.network], json.loads(given.options)), indent=1))
