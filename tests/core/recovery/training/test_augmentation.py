from __future__ import annotations

import pytest
import torch

from foad_plugins.recovery.training.augmentation import CropFlip, color_jitter, crop_and_flip, flip


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


def test_the_generator_alone_decides() -> None:
    images = torch.randn(6, 3, 8, 8, generator=seeded(1))
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
    for image, row, column, mirrored in zip(images, rows, columns, flips, strict=True):
        padded = torch.zeros(shape[1], height + 8, width + 8)
        padded[:, 4:-4, 4:-4] = image
        crop = padded[:, row : row + height, column : column + width]
        expected.append(crop.flip(2) if mirrored else crop)
    assert torch.equal(crop_and_flip(images, seeded(2)), torch.stack(expected))


def test_crops_of_batches_joined_are_those_of_each() -> None:
    images = torch.randn(7, 2, 6, 6, generator=seeded(1))
    random = seeded()
    joined = CropFlip.join([CropFlip.draw(count, random) for count in (4, 3)])
    random = seeded()
    assert torch.equal(joined.slice(0, 4).apply(images[:4]), crop_and_flip(images[:4], random))
    assert torch.equal(joined.slice(4, 7).apply(images[4:]), crop_and_flip(images[4:], random))


def test_without_padding_and_flips_nothing_changes() -> None:
    images = torch.randn(5, 2, 6, 4, generator=seeded(1))
    assert torch.equal(crop_and_flip(images, seeded(), 0, flips=False), images)
    assert not torch.equal(crop_and_flip(images, seeded(), 2, flips=False), images)


def test_about_half_of_the_images_are_mirrored() -> None:
    images = torch.randn(400, 1, 2, 3, generator=seeded(1))
    mirrored = [torch.equal(one, image.flip(2)) for one, image in zip(flip(images, seeded()), images, strict=True)]
    assert 160 < sum(mirrored) < 240


def test_colors_are_scaled_by_image_and_shifted_by_channel() -> None:
    images = torch.randn(50, 3, 4, 4, generator=seeded(1))
    jittered = color_jitter(images, seeded(), 0.3)
    slope = (jittered - jittered.mean((2, 3), keepdim=True)).std((2, 3)) / images.std((2, 3))
    torch.testing.assert_close(slope, slope[:, :1].expand(-1, 3))
    shift = (jittered - slope[:, :, None, None] * images).mean((2, 3))
    assert 0.7 < slope.min() < 0.8
    assert 1.2 < slope.max() < 1.3
    assert 0.2 < shift.abs().max() < 0.3
    assert torch.equal(color_jitter(images, seeded(), 0.0), images)
