from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.models import DigitsVGG, build_model
from foad_plugins.benchmarks.registry.registry import Spec, UnknownNameError

SMALL = Spec(name="digits-vgg", settings={"widths": [3, 4, 5], "classes": 7})


def test_shape_and_layers() -> None:
    model = build_model(SMALL, seed=0)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 7)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [3, 3, 4, 4, 5, 5]
    assert model.classifier.in_features == 5 * 4


def test_the_seed_decides_the_weights_and_the_global_random_state_is_unchanged() -> None:
    state = torch.get_rng_state()
    first, same, other = (build_model(SMALL, seed=seed).classifier.weight for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("wrong", [{"widths": (8, 8)}, {"widths": (8, 0, 8)}, {"classes": 1}])
def test_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DigitsVGG(**wrong)
    with pytest.raises(SettingsError, match="digits-vgg"):
        build_model(Spec(name="digits-vgg", settings=wrong), seed=0)


def test_unknown_model() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'digits-vgg'"):
        build_model(Spec(name="digit-vgg"), seed=0)


def test_a_user_defined_model(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from torch import nn\ndef make(width=3): return nn.Linear(2, width)\ndef text(): return 'model'\n")
    first, again = (build_model(Spec(name=f"{path}:make", settings={"width": 4}), seed=1) for _ in range(2))
    assert first.out_features == 4
    assert torch.equal(first.weight, again.weight)
    with pytest.raises(SettingsError, match="mine.py:text' must give a Module, got str"):
        build_model(Spec(name=f"{path}:text"), seed=0)
