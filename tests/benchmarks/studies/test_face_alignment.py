from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from foad_plugins.benchmarks.datasets.faces.view2 import read_pairs
from foad_plugins.benchmarks.studies.face_alignment import judged
from tests.helpers.faces_folder import PAIRS


def test_mirror_images_count_where_they_are_asked_for(tmp_path: Path) -> None:
    """People differ in the right half alone, which a network that looks at the left half sees by mirror images."""
    (tmp_path / "pairs.txt").write_text(PAIRS)
    view = read_pairs(tmp_path / "pairs.txt")
    people = sorted(view.people)
    faces = torch.zeros(len(view.images), 3, 2, 10, dtype=torch.uint8)
    for face, name in zip(faces, view.images, strict=True):
        face[:, :, 5 + people.index(name.partition("/")[0])] = 255

    class LeftHalf(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, 0, 0, :5]

    plain, flipped = judged(LeftHalf(), faces, view)
    assert plain.accuracy == 0.5
    assert flipped.accuracy == 1
