"""Write digits.ipynb, with the output of a run in its cells.

pip install "foad-plugins[notebook]", then: python docs/examples/build_notebook.py
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent

CELLS = [
    """# Prune a network without labels

Half of the FLOPs of a small network for handwritten digits, removed without labels or gradients. If the environment
variable FOAD_DATA names a folder with CIFAR-10 and the weights of ResNet-56, the cells prune that network instead.""",
    """import copy
import os
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import nn

from foad_plugins import prune, recover

torch.manual_seed(0)
torch.set_num_threads(1)
folder = os.environ.get("FOAD_DATA")""",
    """## A trained network, and images

The digits come with scikit-learn, and the network trains in seconds. The ResNet-56 is trained already.""",
    """def digits():
    from sklearn.datasets import load_digits

    pixels, labels = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
    images = pixels.float().view(-1, 1, 8, 8) / 16
    network = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1024, 10)),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.005)
    for _ in range(8):
        for batch in torch.randperm(1297).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
    return network.eval(), images[:1297], images[1297:], labels[1297:]


def resnet56():
    from foad_plugins.benchmarks.models.foad_resnet import foad_resnet56
    from foad_plugins.benchmarks.studies.common import cifar_images, load_weights

    network = load_weights(foad_resnet56(), Path(folder), "resnet56_cifar10")
    train, _ = cifar_images(Path(folder), "train", 0, 2048)
    return network, train, *cifar_images(Path(folder), "test", 0, 10000)


def accuracy(network):
    network.eval()
    with torch.inference_mode():
        classes = torch.cat([network(batch).argmax(1) for batch in test.split(500)])
    return (classes == labels).float().mean().item()


original, images, test, labels = resnet56() if folder else digits()
trained = accuracy(original)
print(f"trained: {trained:.1%} of {len(labels)} test images are right")""",
    """## Prune

One call, and a few of the training images without their labels. Widths are chosen by sensitivity:
channels are removed where the output changes least. Then each layer is solved by least squares.""",
    """model = copy.deepcopy(original)
report = prune(model, images[:256], flops=0.5, ranking="sensitivity", compensate="refit")
print(report)
print(f"pruned: {accuracy(model):.1%}")""",
    """## What was removed

Each removed channel beside the kept channel that it resembles most, on one image.""",
    """pairs = [pair for group in report.groups for pair in group.pairs if pair.maps.std(dim=(1, 2)).min() > 0.01]
pairs = sorted(pairs, key=lambda pair: -pair.similarity)[:4]
figure, panels = plt.subplots(2, len(pairs), figsize=(2 * len(pairs), 4.4), squeeze=False, layout="constrained")
for column, pair in enumerate(pairs):
    for row, (what, channel) in enumerate((("removed", pair.removed), ("kept", pair.representative))):
        panels[row, column].imshow(pair.maps[row], cmap="magma", vmin=pair.maps.min(), vmax=pair.maps.max())
        panels[row, column].set_title(f"{what}: channel {channel}", fontsize=9)
        panels[row, column].set_axis_off()
plt.show()""",
    """## Recover

The pruned network is trained for a moment to give the original's outputs. Again no labels. If that does
not lower the loss on images that were left out, the network is unchanged.""",
    """print(recover(model, original, images, epochs=3))
recovered = accuracy(model)
left = report.flops_after / report.flops_before
print(f"trained {trained:.1%}, recovered {recovered:.1%} with {left:.0%} of the FLOPs")""",
]


def main(path):
    """Run the cells and write them with their output."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, text in enumerate(CELLS):
        code = not text.startswith("#")
        cell = nbformat.v4.new_code_cell(text) if code else nbformat.v4.new_markdown_cell(text)
        cell["id"] = f"cell-{number}"
        notebook.cells.append(cell)
    # Warnings name folders of the machine.
    os.environ["PYTHONWARNINGS"] = "ignore"
    NotebookClient(notebook, timeout=3600, kernel_name="python3").execute()
    for cell in notebook.cells:
        # Times of this run.
        cell.metadata.pop("execution", None)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "digits.ipynb")
