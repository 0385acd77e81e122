from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from foad_plugins import count_flops, prune
from foad_plugins.adapters.checkpoint import api as checkpoint
from foad_plugins.adapters.checkpoint.api import load_pruned
from foad_plugins.adapters.cli import entry as cli
from foad_plugins.adapters.cli.arguments import make_parser
from foad_plugins.adapters.prune import api as prune_module
from foad_plugins.adapters.prune.search import RANKINGS
from foad_plugins.criterion.ordering import ORDERS
from foad_plugins.recovery.compensation import COMPENSATIONS
from foad_plugins.utils.warnings import NoEffectWarning
from tests.helpers.reports import group, report

image = pytest.importorskip("PIL.Image")
safetensors = pytest.importorskip("safetensors.torch")
pytest.importorskip("torchvision")

NETWORK = """
import torch
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 5),
    )

ready = build()
number = 3

def needs(width):
    return build()

def fails():
    raise KeyError("width")

def leaves():
    raise SystemExit(3)

def nothing():
    return 3
"""
CALL = ["prune", "--model", "cli_net:build", "--weights", "net.safetensors", "--data", "photos", "--size", "16"]
BASE = [*CALL, "--out", "small.safetensors"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a network, its weights and photos in two classes, to work in."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "cli_net.py").write_text(NETWORK)
    for number in range(12):
        place = tmp_path / "photos" / ("cats" if number % 2 else "dogs") / f"{number:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        image.fromarray(pixels).save(place)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    safetensors.save_file(network().state_dict(), "net.safetensors")
    yield tmp_path
    sys.modules.pop("cli_net", None)


def network():
    names: dict = {}
    exec(NETWORK, names)
    return names["build"]()


@pytest.fixture
def calls(monkeypatch):
    """The calls of ``prune``, which is replaced by a stand-in."""
    seen: list = []
    returned = report(group())

    def spy(model, data, **settings):
        seen.append((model, data, settings))
        return returned

    monkeypatch.setattr(prune_module, "prune", spy)
    monkeypatch.setattr(checkpoint, "save_pruned", lambda model, path: path.write_text("model"))
    return seen


@pytest.mark.filterwarnings("ignore:fewer samples")
def test_from_files_to_a_pruned_model_and_its_report(folder, capsys):
    arguments = ["--flops", "0.6", "--mean", "0.5", "--std", "0.25", "--batch-size", "5", "--no-latency"]
    assert cli.main([*BASE, *arguments, "--report", "deep/report.html"]) == 0
    captured = capsys.readouterr()
    assert "FLOPs" in captured.out
    assert "images: 12 of 12 in photos, shorter side to 16 (bilinear), center crop 16x16" in captured.err
    assert "pruned model: small.safetensors" in captured.err
    assert (folder / "deep" / "report.html").read_text().startswith("<!DOCTYPE html>")
    small, original = load_pruned(network, folder / "small.safetensors"), network()
    batch = torch.rand(2, 3, 16, 16)
    assert count_flops(small, batch[:1]) == pytest.approx(0.6 * count_flops(original, batch[:1]), rel=0.05)

    from foad_plugins.adapters.cli.images import calibration_loader
    from foad_plugins.adapters.cli.preprocessing import Preprocessing

    original.load_state_dict(safetensors.load_file("net.safetensors"))
    preprocessing = Preprocessing().changed((16,), mean=[0.5], std=[0.25])
    loader, _ = calibration_loader(Path("photos"), 128, 5, preprocessing)
    prune(original, loader, flops=0.6, measure_latency=False)
    assert torch.equal(small.eval()(batch), original.eval()(batch))
    # A pruned model can be pruned further.
    again = [*CALL[:3], "--weights", "small.safetensors", *CALL[5:], "--params", "0.7", "--out", "smaller.safetensors"]
    assert cli.main([*again, "--quiet", "--no-latency"]) == 0
    assert "calibrating" not in capsys.readouterr().err
    assert sum(map(torch.numel, load_pruned(network, "smaller.safetensors").parameters())) < sum(
        map(torch.numel, small.parameters())
    )


def test_prune_gets_the_given_options_and_no_others(calls):
    fixed = {"verify": True, "measure_latency": True, "dry_run": False, "progress": True}
    assert cli.main(BASE) == 0
    assert calls[-1][2] == fixed
    assert cli.main([*BASE, "--neighbors", "2", "--threshold", "0.25", "--ignore", "3", "--ignore", "0"]) == 0
    assert calls[-1][2] == fixed | {"neighbors": 2, "threshold": 0.25, "ignored_layers": ("3", "0")}
    many = ["--pruning-ratio", "0.3", "--order", "rounds", "--ranking", "global", "--round-to", "8", "--steps", "3"]
    many += ["--compensate", "none", "--no-reestimate-bn", "--max-pruning-ratio", "0.9", "--layer-ratio", "a=b=0.5"]
    many += ["--on-wrong-removal", "error", "--max-trace-seconds", "30", "--max-memory", "4096"]
    many += ["--layer-ratio", "3=0", "--no-verify", "--no-latency", "--quiet", "--dry-run"]
    assert cli.main([*BASE, *many]) == 0
    assert calls[-1][2] == {
        "pruning_ratio": 0.3,
        "order": "rounds",
        "ranking": "global",
        "round_to": 8,
        "steps": 3,
        "compensate": None,
        "reestimate_bn": False,
        "max_pruning_ratio": 0.9,
        "on_wrong_removal": "error",
        "max_trace_seconds": 30.0,
        "max_memory": 4096,
        "pruning_ratio_dict": {"a=b": 0.5, "3": 0.0},
        "verify": False,
        "measure_latency": False,
        "dry_run": True,
        "progress": False,
    }


@pytest.mark.parametrize(("given", "meant"), [("1", 1), ("1.0", 1.0), ("0.25", 0.25)])
def test_a_limit_of_memory_is_bytes_or_a_share(given, meant, calls):
    assert cli.main([*BASE, "--max-memory", given]) == 0
    assert (calls[-1][2]["max_memory"], type(calls[-1][2]["max_memory"])) == (meant, type(meant))


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "1e9", "much"])
def test_a_wrong_limit_of_memory_is_refused(given, capsys):
    assert cli.main([*BASE, "--max-memory", given]) == 2
    assert "--max-memory" in capsys.readouterr().err


def test_the_choices_are_those_of_prune():
    command = (
        make_parser(dict.fromkeys(("prune", "export", "info"), lambda _: 0))
        ._subparsers._group_actions[0]
        .choices["prune"]
    )
    choices = {action.dest: set(action.choices) for action in command._actions if action.choices}
    assert choices["order"] == set(ORDERS)
    assert choices["ranking"] == set(RANKINGS)
    assert choices["compensate"] == {*COMPENSATIONS, "refit", "auto", "none"}


def test_the_images_are_evenly_spread_and_the_same_each_time(calls):
    assert cli.main([*BASE, "--images", "4", "--batch-size", "3"]) == 0
    loader = calls[0][1]
    first, second = list(loader), list(loader)
    assert [len(batch) for batch in first] == [2, 2]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert first[0].shape == (2, 3, 16, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flops", "0.5", "--latency", "0.5"], "not allowed with argument --flops"),
        (["--params", "0.5", "--latency", "0.5"], "--params and --latency cannot both be met"),
        (["--flops", "50"], "a share between 0 and 1, such as 0.5 for half, got 50"),
        (["--flops", "nan"], "a share between 0 and 1"),
        (["--flops", "half"], "a share between 0 and 1, such as 0.5 for half, got half"),
        (["--flops", "50%"], "such as 0.5 for half, got 50%"),
        (["--flops", ""], "such as 0.5 for half, got nothing"),
        (["--max-trace-seconds", "soon"], "a number above 0, got soon"),
        (["--max-memory", "x"], "or a share above 0 and at most 1.0 such as 0.1, got x"),
        (["--size", "100000x3"], "height and width as 112x96, at most 8192, got '100000x3'"),
        (["--model", "net.py"], "FILE.py:FACTORY, got 'net.py'\n"),
        (["--images", "0"], "a whole number of at least 1, got 0"),
        (["--threshold", "1.5"], "a number from 0 to 1, got 1.5"),
        (["--size", "32x"], "a size such as 224, or height and width as 112x96, at most 8192, got '32x'"),
        (["--size", "1x2x3"], "got '1x2x3'"),
        (["--resize", "8"], "--resize 8 is less than the crop 16x16"),
        (["--std", "0"], "above 0, got 0"),
        (["--layer-ratio", "0.5"], "LAYER=SHARE"),
        (["--layer-ratio", "conv=1"], "LAYER=SHARE"),
        (["--out", "small.pt"], "a file that ends in .safetensors, got 'small.pt'"),
        (["--out", "net.safetensors"], "'net.safetensors' is an input of the command"),
        (["--report", "small.safetensors"], "'small.safetensors' is also --out"),
        (["--flops", "0.5", "--neighbors", "2"], "--neighbors is an option of the published rule"),
        (["--round-to", "8"], "--round-to needs a target"),
        (["--layer-ratio", "3=0.5", "--threshold", "0.5"], "--layer-ratio needs a target"),
        (["--as-built"], "not allowed with argument --weights"),
        (["--device", "toaster"], "--device 'toaster' is no device of torch"),
        (["--num-classes", "5"], "--num-classes is for torchvision's models"),
        (["--model", "resnet18"], "did you mean 'torchvision:resnet18'"),
        (["--model", "nets/cli_net:build"], "write package.module:build, or path/to/file.py:build"),
        (["--model", "torchvision:resnet19"], "torchvision has no model 'resnet19'; did you mean 'resnet18'"),
        (["--model", "torchvision:resnet18", "--weights", "V9"], "(IMAGENET1K_V1, DEFAULT)"),
    ],
)
def test_wrong_arguments(arguments, message, calls, capsys):
    assert cli.main([*BASE, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("foad")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not calls


def test_a_device_that_holds_no_data_is_one_line(calls, capsys):
    assert cli.main([*BASE, "--device", "meta"]) == 1
    assert capsys.readouterr().err.startswith("foad: --device='meta' cannot be used here: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "no_net:build"], "there is no module no_net, installed or in /"),
        (["--model", "nothing.py:build"], "--model nothing.py:build: there is no file /"),
        (["--model", "wrong.py:build"], "importing wrong.py fails: SyntaxError"),
        (["--model", "cli_net:biuld"], "cli_net has no attribute 'biuld'; did you mean 'build'?"),
        (["--model", "cli_net:number"], "number must be callable, got int"),
        (["--model", "cli_net:needs"], "TypeError: needs() missing 1 required positional argument: 'width'\n"),
        (["--model", "cli_net:fails"], "fails when called without arguments: KeyError: 'width'"),
        (["--model", "cli_net:leaves"], "fails when called without arguments: SystemExit: 3"),
        (["--model", "cli_net:nothing"], "must return a torch.nn.Module, it returned an object of type int"),
        (["--model", "broken:build"], "importing broken fails: ModuleNotFoundError: No module named 'no_such_module'"),
        (["--model", "wrong:build"], "importing wrong fails: SyntaxError"),
        (["--weights", "nothing.safetensors"], "there is no weights file 'nothing.safetensors'"),
        (["--weights", "cli_net.py"], "'cli_net.py' is no complete safetensors file"),
        (["--weights", "photos"], "the weights file cannot be read: 'photos': not a regular file"),
        (["--data", "nowhere"], "there is no 'nowhere' to read calibration images from"),
        (["--data", "empty"], "there are no images in 'empty' (looked for .jpg"),
        (["--data", "notes"], "there are no images in 'notes', among 1 files"),
        (["--data", "cli_net.py"], "--data must be a folder of images or an .npz file"),
        (["--data", "damaged"], "'damaged/b.png' cannot be read as an image"),
        (["--array", "images"], "--array names an array in an .npz file"),
        (["--out", "cli_net.py/small.safetensors"], "cannot be written: Not a directory"),
        (["--report", "photos"], "--report 'photos' exists and is no regular file"),
        (
            ["--mean", "0.5", "0.5"],
            "the images have 3 channels: give --mean one value or 3 (--mean has 2 values)",
        ),
        (["--ignore", "33"], "foad: --ignore: the model has no layer '33'"),
        (["--layer-ratio", "33=0.5"], "foad: --layer-ratio: the model has no layer '33'"),
        (["--flops", "0.5", "--round-to", "64"], "limited by --ignore, the output's layers, --round-to, --layer-ratio"),
        (["--weights", ""], "there is no weights file ''"),
        (["--flops", "0.00001"], "flops"),
        (["--model", "torchvision:ssd300_vgg16", "--weights", "DEFAULT"], "does not take batches of images"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(arguments, message, folder, capsys):
    (folder / "empty").mkdir()
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("a")
    (folder / "damaged").mkdir()
    whole = (folder / "photos" / "cats" / "01.png").read_bytes()
    (folder / "damaged" / "a.png").write_bytes(whole)
    (folder / "damaged" / "b.png").write_bytes(whole[: len(whole) // 2])
    (folder / "broken.py").write_text("import no_such_module")
    (folder / "wrong.py").write_text("def")
    before = sorted(folder.rglob("*"))
    assert cli.main([*BASE, "--quiet", *arguments]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("foad: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    after = [path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts]
    assert after == [path for path in before if "__pycache__" not in path.parts]


def test_out_is_required_without_dry_run(calls, capsys):
    assert cli.main([*CALL, "--flops", "0.5"]) == 2
    assert "--out is needed" in capsys.readouterr().err
    assert cli.main([*CALL, "--flops", "0.5", "--dry-run"]) == 0
    assert len(calls) == 1


def test_the_page_names_where_it_comes_from(folder):
    arguments = [*BASE, "--dry-run", "--quiet", "--no-latency", "--report", "a page.html"]
    assert cli.main(arguments) == 0
    page = (folder / "a page.html").read_text()
    own = f"torch {version('torch')}"
    for text in ("cli_net:build, weights net.safetensors", "images of photos", "&#39;a page.html&#39;", own, "UTC"):
        assert text in page


def test_a_dry_run_saves_nothing(folder):
    assert cli.main([*BASE, "--dry-run", "--quiet", "--no-latency"]) == 0
    assert not (folder / "small.safetensors").exists()


def test_a_user_defined_network_with_its_own_weights(calls):
    arguments = [*CALL[:1], "--model", "cli_net:ready", "--as-built", *CALL[5:], "--dry-run"]
    assert cli.main(arguments) == 0
    assert calls[0][0] is sys.modules["cli_net"].ready
    assert sys.path[-1] == str(Path.cwd())


def test_a_network_from_a_file_sees_the_files_beside_it(folder, calls):
    (folder / "deep").mkdir()
    (folder / "deep" / "side.py").write_text(NETWORK)
    (folder / "deep" / "my net.py").write_text("import side\ndef build(): return side.build()")
    try:
        assert cli.main([*BASE, "--model", "deep/my net.py:build", "--dry-run"]) == 0
    finally:
        sys.modules.pop("side", None)
    assert calls[0][0][0].out_channels == 16
    assert sys.path[-1] == str(folder / "deep")


def test_files_in_the_current_folder_hide_no_package(folder):
    for name in ("torchvision", "jinja2", "json", "PIL"):
        (folder / f"{name}.py").write_text(f"open('ran-{name}', 'w')")
    code = "import sys; sys.path.remove(''); from foad_plugins.adapters.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *BASE, "--dry-run", "--quiet", "--no-latency"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(folder.glob("ran-*"))


@pytest.mark.parametrize(("options", "expected"), [([], 1), (["--channels", "3"], 3)])
def test_images_follow_the_first_convolution(options, expected, folder, calls):
    (folder / "gray.py").write_text("from torch import nn\ndef build(): return nn.Sequential(nn.Conv2d(1, 4, 3))")
    arguments = ["prune", "--model", "gray.py:build", "--as-built", *CALL[5:], "--dry-run", *options]
    assert cli.main(arguments) == 0
    assert next(iter(calls[0][1])).shape[1] == expected


def test_random_weights_are_reported(calls, capsys):
    arguments = ["prune", "--model", "torchvision:squeezenet1_1", "--as-built", *CALL[5:], "--dry-run"]
    assert cli.main(arguments) == 0
    assert "the weights are random" in capsys.readouterr().err
    state = torch.random.get_rng_state()
    assert cli.main(arguments) == 0
    assert torch.equal(torch.random.get_rng_state(), state)
    first, second = (model.state_dict() for model, _, _ in calls)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("name", "extra"), [("torchvision", "cli"), ("PIL", "cli"), ("jinja2", "cli,report")])
def test_a_missing_extra_is_reported_before_the_work(name, extra, calls, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    assert cli.main([*CALL, "--data", "nowhere", "--report", "report.html"]) == 1
    assert f'install them with: pip install "foad-plugins[{extra}]"' in capsys.readouterr().err
    assert not calls


def test_the_command_line_starts_without_the_extra():
    """In a new process, where nothing has been imported."""
    program = (
        "import sys\n"
        "for name in ('torchvision', 'PIL', 'matplotlib', 'scipy'):\n"
        "    sys.modules[name] = None\n"
        "from foad_plugins.adapters.cli import main\n"
        "sys.exit(main(['prune', '--model', 'a:b', '--as-built', '--data', 'c', '--dry-run']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        'foad: packages are not installed (torchvision, pillow); install them with: pip install "foad-plugins[cli]"'
    )
    assert "Traceback" not in done.stderr


def test_a_model_that_cannot_be_written_is_saved_elsewhere(folder, calls, monkeypatch, capsys):
    def full(model, path):
        if path.parent == Path():
            raise OSError(28, "No space left on device")
        path.write_text("model")

    monkeypatch.setattr(checkpoint, "save_pruned", full)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert cli.main([*BASE, "--report", "report.html"]) == 1
    captured = capsys.readouterr()
    saved = next(folder.glob("foad-*/small.safetensors"))
    assert saved.read_text() == "model"
    assert captured.err.splitlines()[-1] == (
        f"foad: small.safetensors cannot be written: [Errno 28] No space left on device; written to {saved} instead"
    )
    assert "channels removed" in captured.out
    assert (folder / "report.html").exists()


def test_nothing_can_be_written_anywhere(calls, monkeypatch, capsys):
    def full(model, path):
        raise OSError(28, f"No space left on {path.name}")

    monkeypatch.setattr(checkpoint, "save_pruned", full)
    assert cli.main(BASE) == 1
    captured = capsys.readouterr()
    assert "nor can small.safetensors elsewhere" in captured.err
    assert "channels removed" in captured.out


def test_an_interrupt_ends_cleanly(monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(prune_module, "prune", interrupted)
    assert cli.main(BASE) == 130
    assert capsys.readouterr().err.endswith("foad: interrupted\n")


def test_an_unexpected_error_is_one_line_and_a_traceback_on_request(monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(prune_module, "prune", broken)
    assert cli.main([*BASE, "--quiet"]) == 1
    assert capsys.readouterr().err == "foad: ZeroDivisionError: by zero\n"
    assert cli.main([*BASE, "--quiet", "--traceback"]) == 1
    assert "in broken" in capsys.readouterr().err


def test_warnings_are_one_line_and_only_during_the_command(calls, monkeypatch, capsys):
    def warning(*args, **kwargs):
        warnings.warn("nothing was pruned", NoEffectWarning, stacklevel=1)
        return report()

    monkeypatch.setattr(prune_module, "prune", warning)
    show = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert cli.main([*BASE, "--quiet"]) == 0
    assert capsys.readouterr().err == "foad: warning: nothing was pruned\n"
    assert warnings.showwarning is show


def test_info_prints_widths_parameters_and_versions(capsys):
    model = network()
    checkpoint.save_pruned(model, "small.safetensors")
    assert cli.main(["info", "small.safetensors"]) == 0
    first, *_, total, versions = capsys.readouterr().out.splitlines()
    assert first.split() == ["0", "3", "->", "16"]
    assert total.startswith(f"{sum(map(torch.numel, model.parameters())):,} parameters, 0.0 MB of F32")
    assert versions.startswith("written with foad-plugins ")
    assert cli.main(["info", "net.safetensors"]) == 1
    assert "is not a file of save_pruned" in capsys.readouterr().err
    assert cli.main(["info", "nothing"]) == 1
    assert capsys.readouterr().err == "foad: 'nothing': No such file or directory\n"
    assert cli.main(["info", "."]) == 1
    assert capsys.readouterr().err == "foad: '.' is not a regular file\n"


def test_a_pruned_model_is_exported(capsys):
    model = network().eval()
    prune(model, torch.rand(32, 3, 16, 16), flops=0.6)
    checkpoint.save_pruned(model, "small.safetensors")
    command = ["export", *CALL[1:3], "--weights", "small.safetensors", "--size", "16", "--out", "deep/small.pt2"]
    assert cli.main(command) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("deep/small.pt2 (pt2): ")
    assert captured.err.endswith("weights: the pruned model in small.safetensors\n")
    batch = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(torch.export.load("deep/small.pt2").module()(batch), model(batch))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--out", "small.exe"], 2, "a file that ends in .onnx, .pt2, .ts, .torchscript, got 'small.exe'"),
        (["--weights", "nothing.safetensors"], 1, "there is no weights file"),
        (["--out", "photos/00.pt2", "--size", "2x2"], 1, "cannot be exported as pt2"),
    ],
)
def test_a_failed_export_is_one_line_and_nothing_is_written(arguments, status, message, capsys, folder):
    (folder / "odd.py").write_text("from torch import nn\ndef build(): return nn.Conv2d(3, 4, 9)")
    before = sorted(folder.rglob("*"))
    command = ["export", "--model", "odd.py:build", "--as-built", "--out", "x.pt2", *arguments]
    if "--weights" in arguments:
        command.remove("--as-built")
    assert cli.main(command) == status
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert [path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts] == before
