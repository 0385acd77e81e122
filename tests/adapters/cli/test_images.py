from __future__ import annotations

import numpy as np
import pytest
import torch

from foad_plugins.adapters.cli.errors import CommandError, UsageError
from foad_plugins.adapters.cli.images import calibration_loader, find_images, spread
from foad_plugins.adapters.cli.preprocessing import Preprocessing, preprocessing_for

image = pytest.importorskip("PIL.Image")
models = pytest.importorskip("torchvision.models")

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)


def batch(path, preprocessing=None, **settings):
    loader, line = calibration_loader(
        path, settings.pop("count", 128), settings.pop("batch_size", 32), preprocessing or Preprocessing(), **settings
    )
    return torch.cat(list(loader)), line


def normalized(pixels):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (Preprocessing().mean, Preprocessing().std))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std


def save(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(PIXELS[0]).save(path)


def test_subfolders_are_searched_and_sorted(tmp_path):
    save(tmp_path, "b/2.png", "b/deep/1.JPG", "a.webp", "b-c/0.bmp", ".hidden/3.png", "b/._2.png", "z.gif")
    (tmp_path / "b" / "labels.csv").write_text("")
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a.webp", "b/2.png", "b/deep/1.JPG", "b-c/0.bmp", "z.gif"]
    assert batch(tmp_path)[0].shape == (5, 3, 224, 224)


def test_links_are_followed_once(tmp_path):
    save(tmp_path, "elsewhere/1.png", "data/2.png")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "linked" / "back").symlink_to(tmp_path / "data")
    assert len(find_images(tmp_path / "data")) == 2


def test_places_are_spread_evenly():
    assert spread(10, 4) == [0, 2, 5, 7]
    assert spread(3, 10) == [0, 1, 2]
    assert spread(1_281_167, 128)[-1] > 1_270_000


@pytest.mark.parametrize(
    ("count", "size", "expected"), [(5, 4, [3, 2]), (5, 2, [2, 2, 1]), (4, 8, [4]), (5, 1, [1] * 5)]
)
def test_batches_differ_by_one_image_at_most(tmp_path, count, size, expected):
    np.savez(tmp_path / "x.npz", PIXELS)
    loader, _ = calibration_loader(tmp_path / "x.npz", count, size, Preprocessing())
    assert [len(part) for part in loader] == expected


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_other_color_modes_become_rgb(tmp_path, mode):
    name = "a.tif" if mode == "CMYK" else "a.png"
    image.fromarray(PIXELS[0]).convert(mode).save(tmp_path / name)
    assert batch(tmp_path, Preprocessing().changed((6,)))[0].shape == (1, 3, 6, 6)


def plain(channels):
    return Preprocessing(resize=None, crop=None, mean=(0.0,), std=(1.0,), channels=channels)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "RGB"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_have_the_channels_of_the_model(tmp_path, mode, channels):
    picture = image.fromarray(PIXELS[0]).convert(mode)
    picture.save(tmp_path / "a.png")
    found = batch(tmp_path, plain(channels))[0]
    expected = picture.convert("RGBA").convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels])
    assert found.shape == (1, channels, 6, 8)
    pixels = np.asarray(expected).reshape(6, 8, channels).transpose(2, 0, 1)
    assert torch.allclose(found[0] * 255, torch.from_numpy(pixels.astype("f4")), atol=1.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits(tmp_path, channels):
    pixels = np.linspace(0, 65535, 48).reshape(6, 8).astype(np.uint16)
    image.fromarray(pixels).save(tmp_path / "a.png")
    found = batch(tmp_path, plain(channels))[0]
    assert found.shape == (1, channels, 6, 8)
    assert np.allclose(found[0, 0].numpy(), pixels / 65535, atol=0.003)


def test_pixels_of_floats_are_refused(tmp_path):
    image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(CommandError, match=r"a\.tif' has pixels of floats"):
        batch(tmp_path)


@pytest.mark.parametrize(("there", "wanted"), [(1, 3), (3, 1), (3, 4)])
def test_arrays_have_the_channels_of_the_model(tmp_path, there, wanted):
    np.savez(tmp_path / "x.npz", images=PIXELS[..., :there])
    assert batch(tmp_path / "x.npz", plain(wanted))[0].shape == (5, wanted, 6, 8)


def test_means_and_deviations_follow_the_channels():
    assert str(Preprocessing(channels=1)).endswith("mean 0.449, std 0.226")
    assert str(Preprocessing(channels=4)).endswith("mean 0.485 0.456 0.406 0, std 0.229 0.224 0.225 1")


def test_a_file_that_is_no_image(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(CommandError, match=r"a\.png' cannot be read as an image"):
        batch(tmp_path)


def test_arrays_keep_their_size_unless_asked(tmp_path):
    np.savez(tmp_path / "x.npz", PIXELS)
    values, line = batch(tmp_path / "x.npz")
    assert torch.allclose(values, normalized(PIXELS), atol=1e-5)
    assert line.endswith("x.npz, mean 0.485 0.456 0.406, std 0.229 0.224 0.225")
    assert batch(tmp_path / "x.npz", Preprocessing().changed((4,)))[0].shape == (5, 3, 4, 4)
    assert batch(tmp_path / "x.npz", Preprocessing().changed((3, 5), (3, 5)))[0].shape == (5, 3, 3, 5)


def test_gray_arrays(tmp_path):
    np.savez(tmp_path / "x.npz", images=PIXELS[..., 0], labels=np.arange(5))
    values, _ = batch(tmp_path / "x.npz", Preprocessing().changed(mean=[0.5], std=[0.5]))
    assert torch.allclose(values, torch.from_numpy(PIXELS[..., :1]).permute(0, 3, 1, 2) / 127.5 - 1, atol=1e-5)
    with pytest.raises(CommandError, match=r"1 channels: give --mean one value or 1 \(--mean has 3 values\)"):
        batch(tmp_path / "x.npz", Preprocessing().changed(mean=[0.5, 0.5, 0.5]))
    values, _ = batch(tmp_path / "x.npz")
    assert torch.allclose(values[0], (torch.from_numpy(PIXELS[:1, ..., 0]) / 255 - 0.449) / 0.226, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_floats_are_the_models_inputs(tmp_path, dtype):
    inputs = np.random.default_rng(0).normal(size=(4, 2, 3, 3)).astype(dtype)
    np.savez(tmp_path / "x.npz", inputs)
    values, line = batch(tmp_path / "x.npz", count=2)
    assert values.dtype == torch.float32
    assert np.allclose(values, inputs[[0, 2]].astype("f4"))
    assert "2 of 4" in line
    assert line.endswith("unchanged")
    with pytest.raises(CommandError, match="used unchanged: omit --size, --mean"):
        batch(tmp_path / "x.npz", Preprocessing().changed((8,), mean=[0.5]))


@pytest.mark.parametrize(
    ("arrays", "name", "message"),
    [
        ({"train": PIXELS, "test": PIXELS}, None, "no array 'images'; it has 'train', 'test': choose one with --array"),
        ({"train": PIXELS}, "valid", "no array 'valid'"),
        ({"labels": np.arange(5)}, None, r"it is int64 of shape \(5,\)"),
        ({"images": PIXELS.transpose(0, 3, 1, 2)}, None, r"uint8 of shape \(5, 3, 6, 8\)"),
        ({"images": PIXELS[:0]}, None, r"shape \(0, 6, 8, 3\)"),
        ({"images": np.array([{}], dtype=object)}, None, "cannot be read: Object arrays cannot be loaded"),
        ({}, None, "it has nothing"),
    ],
)
def test_arrays_that_are_no_images(tmp_path, arrays, name, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(CommandError, match=message):
        batch(tmp_path / "x.npz", array=name)


def test_a_file_that_is_no_npz(tmp_path):
    (tmp_path / "x.npz").write_text("no zip")
    with pytest.raises(CommandError, match=r"x\.npz' cannot be read"):
        batch(tmp_path / "x.npz")


def test_one_of_several_arrays(tmp_path):
    np.savez(tmp_path / "x.npz", train=PIXELS, test=PIXELS[:2])
    assert len(batch(tmp_path / "x.npz", array="test")[0]) == 2


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b3", "vit_b_16", "inception_v3"])
def test_images_are_prepared_as_torchvision_does(name):
    picture = image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    expected = models.get_model_weights(name).DEFAULT.transforms()(picture)
    assert torch.allclose(preprocessing_for(name).transform(3)(picture), expected, atol=1e-5)


def test_the_chosen_weights_decide_how():
    weights = models.ResNet50_Weights
    assert preprocessing_for("resnet50", weights.IMAGENET1K_V1).resize == (256,)
    assert preprocessing_for("resnet50").resize == (232,)
    assert preprocessing_for("fcn_resnet50").crop == (520, 520)
    assert preprocessing_for(None) == Preprocessing()


def test_sizes():
    plain = Preprocessing()
    assert (plain.changed((32,)).resize, plain.changed((32,)).crop) == ((32,), (32, 32))
    assert (plain.changed((112, 96)).resize, plain.changed((112, 96)).crop) == ((112,), (112, 96))
    assert plain.changed(resize=(300,)).crop == (224, 224)
    assert (
        str(plain)
        == "shorter side to 256 (bilinear), center crop 224x224, mean 0.485 0.456 0.406, std 0.229 0.224 0.225"
    )
    with pytest.raises(UsageError, match="--resize 100x300 is less than the crop 224x224"):
        plain.changed(resize=(100, 300))
