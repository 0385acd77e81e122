"""Train a timm model on handwritten digits for a moment, then prune, recover, save and export it.

pip install "foad-plugins[export]" timm scikit-learn

The training on 1297 images of 8 by 8 pixels stands in for your trained weights. With them, use
``timm.create_model(name, pretrained=True)``, and your own images where ``train`` is used below.
"""

import copy

import timm
import torch
from sklearn.datasets import load_digits
from torch import nn

from foad_plugins import export_model, load_pruned, prune, recover, save_pruned

torch.manual_seed(0)
pixels, labels = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
images = nn.functional.interpolate(pixels.float().view(-1, 1, 8, 8) / 16, size=32, mode="bilinear")
train, test = images[:-500], images[-500:]


def network():
    return timm.create_model("resnet10t", num_classes=10, in_chans=1)


def fit(model, epochs):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.001)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(train)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(train[batch]), labels[batch]).backward()
            optimizer.step()
    model.eval()


def accuracy(model):
    with torch.inference_mode():
        return (model(test).argmax(1) == labels[-500:]).float().mean().item()


original = network()
fit(original, epochs=3)
print(f"trained    {accuracy(original):.1%}")

# Half of the FLOPs. Widths are chosen by sensitivity, and the layers are solved for the smaller network. No labels.
model = copy.deepcopy(original)
report = prune(model, train[:512], flops=0.5, ranking="sensitivity", compensate="refit")
print(f"pruned     {accuracy(model):.1%}, {report.params_before:,} -> {report.params_after:,} parameters")

# The pruned network learns to give the original's outputs. Again no labels.
recover(model, original, train, epochs=1)
print(f"recovered  {accuracy(model):.1%}")

save_pruned(model, "timm-digits.safetensors")
again = load_pruned(network, "timm-digits.safetensors").eval()
with torch.inference_mode():
    assert torch.equal(again(test), model(test))

print(export_model(again, test[:8], "timm-digits.onnx"))
