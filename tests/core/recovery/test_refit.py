from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from foad_plugins import RefitReport, refit
from foad_plugins.recovery.refitting.moments import Moments

SHAPE = (3, 8, 8)


def images(count=48, shape=SHAPE):
    return torch.randn(count, *shape)


@torch.no_grad()
def narrowed(model, kept):
    """A copy of a model, in which layers keep some outputs or, with a minus in front of the name, some inputs."""
    model = copy.deepcopy(model)
    modules = dict(model.named_modules())
    for name, index in kept.items():
        layer = modules[name.removeprefix("-")]
        for key in ("weight", "bias", "running_mean", "running_var"):
            value = getattr(layer, key, None)
            if value is None or (key == "bias" and name.startswith("-")):
                continue
            value = value[:, index] if name.startswith("-") else value[index]
            if isinstance(getattr(layer, key), nn.Parameter):
                setattr(layer, key, nn.Parameter(value.clone()))
            else:
                setattr(layer, key, value.clone())
    return model


def error(model, other, x):
    model.eval(), other.eval()
    with torch.no_grad():
        return float((model(x) - other(x)).square().mean() / other(x).var())


def state(model):
    return [value.clone() for value in model.state_dict().values()]


def same_state(model, before):
    return all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), before, strict=True))


def alive():
    return [thread for thread in threading.enumerate() if thread.name == "foad-refit"]


class Copies(nn.Module):
    """The second half of the inner channels repeats the first with other factors, so that it can be left out."""

    def __init__(self, inner, outer, norm=False):
        super().__init__()
        self.inner, self.outer = inner, outer
        self.norm = nn.BatchNorm2d(inner.weight.shape[0]) if norm else nn.Identity()
        with torch.no_grad():
            half = len(inner.weight) // 2
            inner.weight[half:] = 2 * inner.weight[:half]
            if inner.bias is not None:
                inner.bias[half:] = 2 * inner.bias[:half]

    def forward(self, x):
        return self.outer(functional.relu(self.norm(self.inner(x))))


def copies(norm=False):
    return Copies(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 5, 3, stride=2, bias=False), norm)


HALF = {"inner": [0, 1, 2, 3], "-outer": [0, 1, 2, 3]}


def test_channels_that_repeat_others_can_be_left_out_without_an_error():
    original = copies()
    pruned = narrowed(original, HALF)
    x = images()
    before = error(pruned, original, x)
    report = refit(pruned, original, x)
    assert before > 0.1
    assert error(pruned, original, images()) < 1e-5
    expected = original.outer.weight[:, :4] + 2 * original.outer.weight[:, 4:]
    torch.testing.assert_close(pruned.outer.weight, expected, rtol=1e-2, atol=1e-3)
    [inner, outer] = report.layers
    assert (inner.name, inner.changed, outer.name, outer.changed) == ("inner", False, "outer", True)
    assert outer.error_before > 0.1 > 1e-4 > outer.error_after
    assert outer.unknowns == 36
    assert report.images == 48
    assert report.left_alone == {}


def test_layers_before_the_first_removal_are_unchanged_bit_for_bit():
    original = copies()
    pruned = narrowed(original, HALF)
    refit(pruned, original, images())
    assert torch.equal(pruned.inner.weight, original.inner.weight[:4])


@pytest.mark.parametrize(
    ("inner", "outer", "shape"),
    [
        (lambda: nn.Linear(6, 8), lambda: nn.Linear(8, 4), (6,)),
        (lambda: nn.Conv1d(3, 8, 3), lambda: nn.Conv1d(8, 4, 3, padding="same"), (3, 16)),
        (lambda: nn.Conv3d(2, 8, 3), lambda: nn.Conv3d(8, 4, 1), (2, 4, 6, 6)),
        (lambda: nn.Conv2d(3, 8, 3), lambda: nn.ConvTranspose2d(8, 4, 3, stride=2, output_padding=1), SHAPE),
        (lambda: nn.Conv2d(3, 8, 3), lambda: nn.Conv2d(8, 4, 3, padding=1, padding_mode="reflect"), SHAPE),
    ],
)
def test_every_kind_of_layer_is_solved(inner, outer, shape):
    original = Copies(inner(), outer())
    pruned = copy.deepcopy(original)
    with torch.no_grad():
        pruned.inner.weight = nn.Parameter(original.inner.weight[:4].clone())
        pruned.inner.bias = nn.Parameter(original.inner.bias[:4].clone())
        transposed = isinstance(pruned.outer, nn.ConvTranspose2d)
        weight = original.outer.weight[:4] if transposed else original.outer.weight[:, :4]
        pruned.outer.weight = nn.Parameter(weight.clone())
        for layer in (pruned.inner, pruned.outer):
            if isinstance(layer, _ConvNd):
                layer.in_channels = 4 if layer is pruned.outer else layer.in_channels
                layer.out_channels = 4
    refit(pruned, original, images(64, shape))
    assert error(pruned, original, images(16, shape)) < 1e-4


@pytest.mark.parametrize("groups", [2, 4])
def test_grouped_and_depthwise_layers_are_solved_group_by_group(groups):
    original = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, groups=groups))
    pruned = copy.deepcopy(original)
    nn.init.normal_(pruned[1].weight)
    nn.init.normal_(pruned[1].bias)
    refit(pruned, original, images())
    torch.testing.assert_close(pruned[1].weight, original[1].weight, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(pruned[1].bias, original[1].bias, rtol=1e-2, atol=1e-2)


def test_without_a_bias_the_constant_is_added_to_the_running_mean():
    original = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    pruned = copy.deepcopy(original)
    pruned[1].running_mean += 0.7
    weight = pruned[0].weight.clone()
    refit(pruned, original, images())
    torch.testing.assert_close(pruned[1].running_mean, original[1].running_mean, rtol=0, atol=1e-3)
    torch.testing.assert_close(pruned[0].weight, weight, rtol=0, atol=1e-3)


def test_other_statistics_of_the_normalization_are_made_up_for():
    original = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    pruned = copy.deepcopy(original)
    pruned[1].running_var *= 4
    refit(pruned, original, images())
    assert error(pruned, original, images()) < 1e-6


class Stream(nn.Module):
    """Two residual blocks; the second can correct the first one's error."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 3, 3, padding=1)) for _ in range(2)
        )

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


def test_a_branch_is_fitted_to_the_sum_so_that_the_stream_is_corrected():
    original = Stream()
    first = list(range(6))
    pruned = narrowed(original, {"blocks.0.0": first, "-blocks.0.2": first})
    plain = copy.deepcopy(pruned)
    x = images(96)
    report = refit(pruned, original, x)
    assert [layer.name for layer in report.layers if layer.at_sum] == ["blocks.0.2", "blocks.1.2"]
    # The second block lost nothing: without the sum its own target would be met already.
    assert [layer.name for layer in report.layers if layer.changed] == ["blocks.0.2", "blocks.1.0", "blocks.1.2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("foad_plugins.recovery.refitting.trace._Recorder.on_sum", lambda *args: None)
        refit(plain, original, x)
    y = images()
    assert error(pruned, original, y) < 0.9 * error(plain, original, y)


def test_attention_is_left_alone_and_the_layers_around_it_are_fitted():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

        def forward(self, x):
            x = x + self.attention(x, x, x, need_weights=False)[0]
            return x + self.down(functional.gelu(self.up(x)))

    original = Block()
    pruned = narrowed(original, {"up": list(range(10)), "-down": list(range(10))})
    x, y = images(64, (6, 8)), images(64, (6, 8))
    before = error(pruned, original, y)
    report = refit(pruned, original, x)
    assert error(pruned, original, y) < before
    assert set(report.left_alone) == {"attention.in_proj", "attention.out_proj"}
    assert "left alone" in str(report)


class Awkward(nn.Module):
    """Layers that cannot be solved, each for a reason of its own."""

    def __init__(self):
        super().__init__()
        self.twice = nn.Conv2d(3, 3, 3, padding=1)
        self.tied, self.other = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.other.weight = self.tied.weight
        self.unused = nn.Linear(2, 2)
        self.computed = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1))
        self.hooked = nn.Conv2d(3, 3, 1)
        self.hooked.register_forward_hook(lambda module, args, output: output + 1)
        self.plain = nn.Conv2d(3, 3, 3)

    def forward(self, x):
        x = self.other(self.tied(self.twice(self.twice(x))))
        return self.plain(self.hooked(self.computed(x)).relu())


def test_layers_that_cannot_be_solved_are_left_alone_with_the_reason():
    original = Awkward()
    pruned = copy.deepcopy(original)
    with torch.no_grad():
        for parameter in pruned.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    weights = {name: value.clone() for name, value in pruned.state_dict().items()}
    report = refit(pruned, original, images())
    assert report.changed == ("plain",)
    reasons = {"twice": "more than once", "tied": "shares", "other": "shares", "unused": "does not run"}
    reasons |= {"computed": "computed", "hooked": "weight times its input"}
    assert set(report.left_alone) == set(reasons)
    for name, reason in reasons.items():
        assert reason in report.left_alone[name]
    assert all(torch.equal(value, weights[name]) for name, value in pruned.state_dict().items() if "plain" not in name)


def test_layers_in_another_order_or_not_on_all_inputs_are_left_alone():
    class Changing(nn.Module):
        def __init__(self, order):
            super().__init__()
            self.layers, self.sometimes = nn.ModuleList(nn.Linear(4, 4) for _ in range(3)), nn.Linear(4, 4)
            self.order = order

        def forward(self, x):
            for number in self.order:
                x = self.layers[number](x).relu()
            return self.sometimes(x) if len(x) % 2 and len(x) > 2 else x

    original, pruned = Changing([0, 1, 2]), Changing([1, 0, 2])
    data = [images(count, (4,)) for count in (4, 4, 5, 4)]
    report = refit(pruned, original, data, forward_fn=lambda model, batch: model(batch))
    assert "layers.2" in [layer.name for layer in report.layers]
    assert {"another order"} == {
        reason.split("in ")[-1] for name, reason in report.left_alone.items() if name.startswith("layers")
    }
    assert "sometimes" in report.left_alone


class Stopping(nn.Module):
    """Raises on its n-th run with a whole batch."""

    def __init__(self, error, run):
        super().__init__()
        self.error, self.run, self.count = error, run, 0

    def forward(self, x):
        if len(x) > 2:
            self.count += 1
            if self.count == self.run:
                raise self.error
        return x


@pytest.mark.parametrize("stop", [ArithmeticError("stop"), KeyboardInterrupt()])
@pytest.mark.parametrize("run", [1, 4])
def test_whatever_a_model_raises_nothing_is_changed_and_no_thread_is_left(stop, run):
    original = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3), nn.Identity())
    pruned = narrowed(original, {"0": [1, 2, 5], "1": [1, 2, 5], "-2": [1, 2, 5]})
    pruned[3] = Stopping(stop, run)
    pruned.train()
    before = state(pruned)
    with pytest.raises(type(stop)):
        refit(pruned, original, images())
    assert same_state(pruned, before)
    assert not alive()
    assert pruned.training
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in pruned.modules())


@pytest.mark.parametrize("number", [0, 5, 20])
def test_an_interruption_while_a_layer_is_solved_changes_nothing(number, monkeypatch):
    original = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3), nn.Conv2d(4, 4, 1))
    pruned = narrowed(original, {"0": [1, 2, 5], "1": [1, 2, 5], "-2": [1, 2, 5]})
    pruned[1].running_mean += 1
    before, count, add = state(pruned), [], Moments.add

    def interrupted(self, x, y):
        count.append(1)
        if len(count) > number:
            raise KeyboardInterrupt
        add(self, x, y)

    monkeypatch.setattr(Moments, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        refit(pruned, original, images())
    assert same_state(pruned, before)
    assert not alive()


def test_nan_in_a_layer_names_it_and_changes_nothing():
    original = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1))
    pruned = narrowed(original, {"0": [0, 1], "-1": [0, 1]})
    x = images()
    x[17, 0, 4, 4] = float("nan")
    before = state(pruned)
    with pytest.raises(ValueError, match="NaN or Inf at layer '0'"):
        refit(pruned, original, x)
    assert same_state(pruned, before)
    assert not alive()


def test_the_original_flags_hooks_and_random_numbers_are_unchanged():
    original = copies(norm=True).train()
    pruned = narrowed(original, {**HALF, "norm": [0, 1, 2, 3]})
    pruned.outer.weight.requires_grad_(False)
    before = state(original)
    x, random = images(), torch.get_rng_state()
    refit(pruned, original, x)
    assert torch.equal(torch.get_rng_state(), random)
    assert same_state(original, before)
    assert original.training
    assert pruned.training
    assert not pruned.outer.weight.requires_grad
    assert pruned.inner.weight.requires_grad
    assert pruned.outer.weight.grad is None


def test_the_same_call_gives_the_same_weights():
    original = copies()
    results = []
    x = images()
    for _ in range(2):
        pruned = narrowed(original, HALF)
        refit(pruned, original, x, rows=3)
        results.append(state(pruned))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_data_may_have_any_form_and_be_read_only_once():
    original = copies()
    x = images()
    labels = torch.zeros(48)
    forms = [
        x,
        (batch for batch in x.split(8)),
        [(batch, number) for batch, number in zip(x.split(16), labels.split(16), strict=True)],
        list(x.split(1)),
        {"x": x},
    ]
    for data in forms:
        pruned = narrowed(original, HALF)
        report = refit(pruned, original, data)
        assert report.images == 48
        assert error(pruned, original, images()) < 1e-4


def test_models_that_take_their_inputs_in_another_way():
    original = copies()
    pruned = narrowed(original, HALF)
    refit(
        pruned, original, [{"image": x} for x in images().split(8)], forward_fn=lambda model, item: model(item["image"])
    )
    assert error(pruned, original, images()) < 1e-4


def test_one_image_is_enough_to_run_and_a_note_tells_what_it_means():
    original = copies()
    pruned = narrowed(original, HALF)
    y = images()
    before = error(pruned, original, y)
    report = refit(pruned, original, images(1))
    assert error(pruned, original, y) < before
    assert any("few images" in note for note in report.notes)
    assert any("fewer positions than weights" in note and "outer" in note for note in report.notes)


def test_one_row_is_too_few():
    original, pruned = nn.Linear(3, 2), nn.Linear(3, 2)
    report = refit(pruned, original, torch.randn(1, 3))
    assert "too few rows" in report.left_alone[""]


def test_channels_can_be_named_and_are_matched_by_their_maps_where_values_do_not_show_them():
    original = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    index = [6, 1, 2]
    pruned = narrowed(original, {"0": index, "-2": index})
    x, y = images(), images()
    with pytest.raises(ValueError, match="layer '0'.*kept="):
        refit(pruned, original, x)
    refit(pruned, original, x, kept={"0": index})
    trained = narrowed(original, {"0": [1, 2, 6], "-2": [1, 2, 6]})
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(1.1).add_(0.01 * torch.randn_like(parameter))
    refit(trained, original, x)
    assert error(trained, original, y) == pytest.approx(error(pruned, original, y), rel=0.1)


def test_a_network_that_is_no_pruned_copy_is_refused():
    original = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 4))
    x = images()
    wider = nn.Sequential(nn.Conv2d(3, 9, 3), nn.Flatten(), nn.Linear(324, 4))
    stranger = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(180, 4))
    others = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Identity(), nn.Linear(192, 4))
    other_output = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 3))
    for pruned, message in [
        (wider, "9 outputs and 8 in original"),
        (stranger, "kept="),
        (others, "no layer"),
        (other_output, r"\(3,\).*\(4,\)"),
        (original, "one object"),
        (nn.Sequential(original[0], nn.Flatten(), nn.Linear(288, 4)), "share the parameter '0.weight'"),
    ]:
        with pytest.raises(ValueError, match=message):
            refit(pruned, original, x)
    assert not alive()


def test_random_outputs_are_refused():
    class Random(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return functional.dropout(self.conv(x), 0.5)

    original = Random()
    with pytest.raises(ValueError, match="dropout"):
        refit(copy.deepcopy(original), original, images())


def test_more_images_than_memory_holds_are_refused_with_a_number_that_fits():
    original = copies()
    pruned = narrowed(original, HALF)
    x = images()
    with pytest.raises(ValueError, match="48 images.*at most") as raised:
        refit(pruned, original, x, max_memory=150_000)
    fits = int(str(raised.value).split("at most ")[1].split()[0])
    assert 0 < fits < 48
    refit(pruned, original, x[:fits], max_memory=150_000)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"rows": 0}, ValueError),
        ({"rows": 1.5}, ValueError),
        ({"ignored_layers": ["none"]}, ValueError),
        ({"ignored_layers": "inner"}, TypeError),
        ({"kept": {"inner": [0]}}, ValueError),
        ({"data": "images"}, TypeError),
        ({"data": []}, ValueError),
        ({"data": torch.zeros(4, 5, 8, 8)}, ValueError),
        ({"data": torch.zeros(3, 8, 8)}, ValueError),
        ({"pruned": "model"}, TypeError),
        ({"original": nn.Linear}, TypeError),
    ],
)
def test_bad_arguments_are_refused(options, error):
    original = copies()
    given = {"pruned": narrowed(original, HALF), "original": original, "data": images(), **options}
    with pytest.raises(error):
        refit(given.pop("pruned"), given.pop("original"), given.pop("data"), **given)


def test_layers_that_see_other_regions_in_the_two_networks_are_left_alone():
    class Selecting(nn.Module):
        """As detectors do, it goes on with what it has found."""

        def __init__(self):
            super().__init__()
            self.features, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 2)

        def forward(self, x):
            x = self.features(x)
            return self.head(x.permute(0, 2, 3, 1)[x[:, 0] > 0.3])

    original = Selecting()
    pruned = narrowed(original, {"features": [0, 2, 3], "-head": [0, 2, 3]})
    with torch.no_grad():
        pruned.features.weight.mul_(0.7)
    report = refit(pruned, original, images(), ignored_layers=["features"])
    assert report.left_alone == {
        "features": "it is ignored",
        "head": "its inputs have other sizes in the two networks",
    }


def test_the_report_names_layers_and_reasons():
    original = Awkward()
    pruned = copy.deepcopy(original)
    report = refit(pruned, original, images())
    assert isinstance(report, RefitReport)
    text = str(report)
    assert "plain" in text
    assert "0 of 1 layers refitted on 48 images" in text
    assert "left alone, it runs more than once: twice" in text
