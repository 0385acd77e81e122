from __future__ import annotations

import pytest
import torch

from foad_plugins.benchmarks.datasets.augmentation import CropFlip, crop_and_flip, move


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def candidates(image: torch.Tensor) -> list[torch.Tensor]:
    """Every crop of one image (C, H, W), plain and mirrored, cut out one by one."""
    height, width = image.shape[1:]
    padded = torch.zeros(len(image), height + 8, width + 8)
    padded[:, 4:-4, 4:-4] = image
    crops = [padded[:, y : y + height, x : x + width] for y in range(9) for x in range(9)]
    return [*crops, *(crop.flip(2) for crop in crops)]


@pytest.mark.parametrize("shape", [(40, 3, 12, 12), (5, 1, 8, 10)])
def test_every_image_becomes_one_of_its_own_crops(shape: tuple[int, ...]) -> None:
    images = torch.randn(shape, generator=seeded(1))
    before = images.clone()
    augmented = crop_and_flip(images, seeded())
    assert augmented.shape == images.shape
    assert torch.equal(images, before)
    for image, result in zip(images, augmented, strict=True):
        assert any(torch.equal(result, candidate) for candidate in candidates(image))


def test_all_offsets_and_both_directions_occur() -> None:
    ramp = torch.arange(1.0, 145.0).view(1, 1, 12, 12).repeat(3000, 1, 1, 1)
    augmented = crop_and_flip(ramp, seeded())
    kinds = {tuple(image.flatten().tolist()) for image in augmented}
    assert kinds == {tuple(candidate.flatten().tolist()) for candidate in candidates(ramp[0])}
    mirrored = (augmented[:, 0, 6, 6] > augmented[:, 0, 6, 7]).float().mean()
    assert 0.45 < mirrored < 0.55


def test_the_generator_alone_decides(images: torch.Tensor) -> None:
    state = torch.get_rng_state()
    assert torch.equal(crop_and_flip(images, seeded(3)), crop_and_flip(images, seeded(3)))
    assert not torch.equal(crop_and_flip(images, seeded(3)), crop_and_flip(images, seeded(4)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(37, 3, 32, 32), (1, 1, 5, 9)])
def test_it_is_what_a_loop_over_the_images_gives(shape: tuple[int, ...]) -> None:
    images = torch.randn(shape, generator=seeded(1))
    random = seeded(2)
    rows, columns = torch.randint(0, 9, (2, shape[0]), generator=random).tolist()
    flips = (torch.rand(shape[0], generator=random) < 0.5).tolist()
    height, width = shape[2:]
    expected = []
    for image, row, column, flip in zip(images, rows, columns, flips, strict=True):
        padded = torch.zeros(shape[1], height + 8, width + 8)
        padded[:, 4:-4, 4:-4] = image
        crop = padded[:, row : row + height, column : column + width]
        expected.append(crop.flip(2) if flip else crop)
    assert torch.equal(crop_and_flip(images, seeded(2)), torch.stack(expected))


def test_moves_of_batches_joined_are_those_of_each() -> None:
    images = torch.randn(7, 2, 6, 6, generator=seeded(1))
    random = seeded()
    joined = CropFlip.join([CropFlip.draw(count, random) for count in (4, 3)])
    random = seeded()
    assert torch.equal(move(images[:4], joined.slice(0, 4)), crop_and_flip(images[:4], random))
    assert torch.equal(move(images[4:], joined.slice(4, 7)), crop_and_flip(images[4:], random))
