"""Prune a YOLO of ultralytics to three quarters of its FLOPs, with a detection head that keeps all its outputs.

pip install "foad-plugins[export]" ultralytics

ultralytics is under AGPL-3.0 or a license that is bought, so nothing of foad-plugins requires it. With your weights and
images, use ``YOLO("yolov8n.pt")``, and photos as a tensor (N, 3, H, W) in [0, 1] where ``images`` is used below.
"""

import copy
import sys

import torch
from ultralytics import YOLO
from ultralytics.nn.modules import Detect

from foad_plugins import prune, recover, save_pruned

torch.manual_seed(0)
# A file name that ends in .yaml gives a network without trained weights.
model = YOLO(sys.argv[1] if len(sys.argv) > 1 else "yolov8n.yaml").model.eval()
images = torch.rand(32, 3, 128, 128)

# Outputs of the head are boxes and classes: none of its layers may lose channels.
heads = [module for module in model.modules() if isinstance(module, Detect)]
original = copy.deepcopy(model)
report = prune(model, images, flops=0.75, ignored_layers=heads)
print(report)

with torch.no_grad():
    before, after = original(images)[0], model(images)[0]
assert after.shape == before.shape
assert all(
    layer.out_channels == old.out_channels
    for head, old_head in zip(heads, (m for m in original.modules() if isinstance(m, Detect)), strict=True)
    for layer, old in zip(head.modules(), old_head.modules(), strict=True)
    if isinstance(layer, torch.nn.Conv2d)
)

# Without labels: the raw maps of the head are compared. Train with your labels afterwards, if you have them.
print(recover(model, original, images, steps=4, batch_size=4, output_transform=lambda output: output[0]))
save_pruned(model, "yolo-pruned.safetensors")
