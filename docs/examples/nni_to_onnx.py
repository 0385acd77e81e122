"""From a config list of NNI 3.0 to an ONNX file: mask, shrink, fine-tune, export.

pip install "foad-plugins[nni,export]" scikit-learn
"""

import torch
from nni.compression.speedup import ModelSpeedup
from nni.compression.utils import auto_set_denpendency_group_ids
from sklearn.datasets import load_digits
from torch import nn

from foad_plugins import FOADPruner, export_model

torch.manual_seed(0)
pixels, labels = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
images = pixels.float().view(-1, 1, 8, 8) / 16
train, test = images[:-500], images[-500:]


def fit(model, epochs):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(train)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(train[batch]), labels[batch]).backward()
            optimizer.step()
    model.eval()


def accuracy(model):
    with torch.no_grad():
        return (model(test).argmax(1) == labels[-500:]).float().mean().item()


model = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3, padding=1),
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(2),
    nn.Flatten(),
    nn.Linear(256, 10),
)
fit(model, epochs=5)
print(f"trained     {accuracy(model):.1%}")

config = auto_set_denpendency_group_ids(model, [{"op_types": ["Conv2d"], "sparse_ratio": 0.5}], train[:64])
pruner = FOADPruner(model, config, data=train[:256])
_, masks = pruner.compress()
print(f"masked      {accuracy(model):.1%}")

# NNI's speedup removes what is masked.
pruner.unwrap_model()
ModelSpeedup(model, train[:64], masks).speedup_model()
fit(model, epochs=2)
print(f"fine-tuned  {accuracy(model):.1%}, {sum(p.numel() for p in model.parameters()):,} parameters")

print(export_model(model, test[:8], "nni-digits.onnx"))
