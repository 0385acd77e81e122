"""Known failures of NNI's speedup, so that a fix of them is noticed."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("nni")
pytest.importorskip("torchvision")

# Model, whether dependency groups are found first, pruner, and the error; None for a run that does not end in time.
CASES = [
    ("shufflenet_v2_x0_5", True, "foad", None),
    ("shufflenet_v2_x0_5", True, "l1", None),
    ("shufflenet_v2_x0_5", False, "foad", "ValueError: Torch-Pruning cannot trace the model"),
    ("shufflenet_v2_x0_5", False, "l1", "UnBalancedGroupError"),
    ("convnext_tiny", True, "foad", "EmptyLayerError"),
    ("convnext_tiny", True, "l1", "EmptyLayerError"),
    ("vit_b_16", True, "foad", "TracingCheckError"),
    ("vit_b_16", True, "l1", "TracingCheckError"),
]
SECONDS = 90

SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
import torch, torchvision
from foad_plugins import FOADPruner
from nni.compression.pruning import L1NormPruner
from nni.compression.speedup import ModelSpeedup
from nni.compression.utils import auto_set_denpendency_group_ids

torch.set_num_threads(1)
torch.manual_seed(0)
name, groups, kind = sys.argv[1:]
model = torchvision.models.get_model(name).eval()
images = torch.rand(2, 3, 224, 224)
config = [{"op_types": ["Conv2d"], "sparse_ratio": 0.5}]
if groups == "True":
    config = auto_set_denpendency_group_ids(model, config, images)
pruner = FOADPruner(model, config, data=images) if kind == "foad" else L1NormPruner(model, config)
_, masks = pruner.compress()
pruner.unwrap_model()
ModelSpeedup(model, images, masks).speedup_model()
model.eval()(images)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "groups", "kind", "error"), CASES)
def test_failures_shared_with_the_pruner_of_nni(name, groups, kind, error):
    command = [sys.executable, "-c", SCRIPT, name, str(groups), kind]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        assert error is None, f"no end within {SECONDS} s"
        return
    assert done.returncode == 1
    assert error is not None
    assert error in done.stderr
