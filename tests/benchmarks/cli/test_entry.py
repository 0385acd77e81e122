from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml
from safetensors.torch import save_file

from foad_plugins.benchmarks import report
from foad_plugins.benchmarks.cli import commands as cli_run
from foad_plugins.benchmarks.cli import entry as cli
from foad_plugins.benchmarks.cli.arguments import make_parser
from foad_plugins.benchmarks.cli.signals import TerminationRequested, handle_termination
from foad_plugins.benchmarks.criteria import CRITERIA, CriterionSpec
from foad_plugins.benchmarks.datasets import DATASETS
from foad_plugins.benchmarks.files import hash_tensors
from foad_plugins.benchmarks.models import MODELS, build_model
from foad_plugins.benchmarks.records.store import RecordStore
from foad_plugins.benchmarks.suites.loader import suite_names
from foad_plugins.benchmarks.suites.schema import Suite
from foad_plugins.benchmarks.sweep.executors import InProcess, WorkerProcesses
from foad_plugins.benchmarks.sweep.runner import Outcome
from foad_plugins.benchmarks.training.hardware import Hardware, Precision

from ..conftest import AddCriterion


@pytest.fixture
def tiny(tiny_suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny suite as a YAML file in the current folder, with nothing to fall back on."""
    monkeypatch.delenv("FOAD_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    write(tiny_suite, "tiny.yaml")
    return "tiny.yaml"


@pytest.fixture
def plain_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is rendered is tested elsewhere."""
    monkeypatch.setattr(report, "render", lambda folder: f"report of {folder}")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, plain_report: None) -> list[dict[str, Any]]:
    """What the runner is called with, in place of running anything."""
    seen: list[dict[str, Any]] = []

    def spy(suite: Suite, folder: Path, **options: Any) -> Outcome:
        seen.append({"suite": suite, "folder": folder, **options})
        return Outcome((), 0)

    monkeypatch.setattr(cli_run, "run_suite", spy)
    return seen


def write(suite: Suite, name: str) -> None:
    Path(name).write_text(yaml.safe_dump(suite.model_dump(mode="json", exclude_none=True)))


def test_run_and_report(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", tiny]) == 0
    first = capsys.readouterr().out
    folder = tmp_path / "results" / "tiny"
    assert "2 runs in" in first
    assert "seed 0  foad" in first
    assert len(list((folder / "records").glob("*.json"))) == 2
    assert (folder / "accuracy_flops.png").read_bytes().startswith(b"\x89PNG")
    markdown = (folder / "leaderboard.md").read_text()
    (folder / "leaderboard.md").unlink()
    assert cli.main(["report", "results/tiny"]) == 0
    second = capsys.readouterr().out
    assert (folder / "leaderboard.md").read_text() == markdown
    assert second.strip() in first
    assert cli.main(["run", tiny, "--quiet"]) == 0
    assert capsys.readouterr().out == second


def test_without_options(tiny: str, tiny_suite: Suite, calls: list[dict[str, Any]]) -> None:
    assert cli.main(["run", tiny]) == 0
    (call,) = calls
    assert isinstance(call.pop("executor"), InProcess)
    assert call == {
        "suite": tiny_suite,
        "folder": Path("results/tiny"),
        "data_root": None,
        "imports": (),
        "hardware": Hardware(),
        "fresh": False,
        "quiet": False,
        "save_models": False,
        "on_record": None,
    }


def test_options_reach_the_runner(
    tiny: str, tmp_path: Path, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").touch()
    command = [
        "run",
        tiny,
        "--out",
        "here",
        "--seeds",
        "7",
        "--fresh",
        "--quiet",
        "--import",
        "mine.py",
        "--import",
        "re",
    ]
    hardware = ["--device", "cuda", "--devices", "2", "--precision", "bf16-mixed", "--workers", "3", "--cuda-graphs"]
    assert cli.main([*command, *hardware, "--data-root", "mine"]) == 0
    (call,) = calls
    assert call["suite"].seeds == 7
    assert (call["folder"], call["data_root"], call["imports"]) == (Path("here"), Path("mine"), ("mine.py", "re"))
    assert call["hardware"] == Hardware(device="cuda", devices=2, precision="bf16-mixed", cuda_graphs=True)
    assert (call["fresh"], call["quiet"]) == (True, True)
    assert isinstance(call["executor"], WorkerProcesses)
    assert call["executor"].slots == 3
    call["executor"].close()


def test_the_data_root_is_given_or_in_the_environment(
    tiny: str, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOAD_DATA", "theirs")
    cli.main(["run", tiny])
    cli.main(["run", tiny, "--data-root", "mine"])
    monkeypatch.setenv("FOAD_DATA", "")
    cli.main(["run", tiny])
    assert [call["data_root"] for call in calls] == [Path("theirs"), Path("mine"), None]


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], {"threads": 1, "gpus": 0, "slots": None}),
        (["--workers", "4", "--devices", "2"], {"threads": 2, "gpus": 0, "slots": 4}),
        (["--device", "cuda", "--devices", "2"], {"threads": 1, "gpus": 2, "slots": None}),
    ],
)
def test_ray_is_asked_for_what_a_job_takes(
    tiny: str,
    calls: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    asked: dict[str, int | None],
) -> None:
    seen = []
    monkeypatch.setattr(cli_run, "RayCluster", lambda address, **wanted: seen.append((address, wanted)))
    assert cli.main(["run", tiny, "--executor", "ray", "--address", "auto", *options]) == 0
    assert seen == [("auto", asked)]


def test_smoke_has_results_of_its_own(tiny: str, tmp_path: Path, plain_report: None) -> None:
    assert cli.main(["run", tiny, "--smoke", "--quiet", "--seeds", "5"]) == 0
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["tiny-smoke"]
    assert len(list((tmp_path / "results" / "tiny-smoke" / "records").iterdir())) == 2


def test_failed_runs_are_listed_after_the_leaderboard(
    tiny: str,
    tiny_suite: Suite,
    plain_report: None,
    add_criterion: AddCriterion,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = add_criterion("bad", lambda group: 1 / 0)
    write(tiny_suite.model_copy(update={"criteria": (bad, CriterionSpec(name="l1"))}), tiny)
    assert cli.main(["run", tiny, "--quiet"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("report of results/tiny\n")
    assert captured.err == (
        "\nfoad-bench: 1 of 2 runs failed:\n"
        "  seed 0  bad (FLOPs -40%, local): criterion 'bad', group of layer 'features.0': "
        "ZeroDivisionError: division by zero\n"
        "tracebacks are in results/tiny/failures; the same command tries them again\n"
    )
    write(tiny_suite.model_copy(update={"criteria": (bad,)}), tiny)
    assert cli.main(["run", tiny, "--quiet", "--out", "none"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "1 of 1 runs failed" in captured.err


def test_check_shows_how_many_runs_are_to_be_done(
    tiny: str, plain_report: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", tiny, "--seeds", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "tiny: for tests",
        "1 tables, 2 criteria, 2 seeds: 4 runs",
        "0 of them are in results/tiny, 4 are to be done",
    ]
    assert not Path("results").exists()
    assert cli.main(["run", tiny, "--quiet"]) == 0
    capsys.readouterr()
    assert cli.main(["check", tiny, "--seeds", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[2] == "2 of them are in results/tiny, 2 are to be done"


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "from a folder of yours: name one with --data-root DIR or in the environment variable FOAD_DATA"),
        (
            ["--data-root", "nowhere"],
            "but there is no folder 'nowhere': name one with --data-root DIR or in the environment variable FOAD_DATA",
        ),
    ],
)
def test_data_that_is_not_there_is_one_line(
    tiny: str,
    given_suite: Suite,
    command: str,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(given_suite, "given.yaml")
    assert cli.main([command, "given.yaml", *options]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("foad-bench: this suite reads weights/small.safetensors")
    assert captured.err.endswith(f"{message}\n")
    assert not Path("results").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_suite_that_trains_starts_from_given_weights(
    tiny: str, tiny_suite: Suite, suffix: str, plain_report: None, capsys: pytest.CaptureFixture[str]
) -> None:
    state = build_model(tiny_suite.conditions.model, seed=5).state_dict()
    wrapped = {f"module.{name}": value for name, value in state.items()}
    path = Path(f"net{suffix}").absolute()
    (torch.save if suffix == ".pth" else save_file)(wrapped, path)
    assert tiny_suite.conditions.base_recipe is not None
    read = f"base weights: {path}, without the prefix 'module.' of its names"
    assert cli.main(["check", tiny, "--weights", path.name]) == 0
    assert read in capsys.readouterr().out.splitlines()
    assert cli.main(["run", tiny, "--weights", path.name]) == 0
    assert read in capsys.readouterr().out.splitlines()
    records = RecordStore(Path("results/tiny/records")).all()
    assert {record.base_weights_hash for record in records} == {hash_tensors(state)}
    assert not list(Path("results").rglob("*.safetensors"))


def test_weights_that_are_not_there(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", tiny, "--weights", "net.pth"]) == 1
    error = capsys.readouterr().err
    assert error == f"foad-bench: there is no file '{Path('net.pth').absolute()}', which this suite reads\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quikstart"], "unknown suite 'quikstart'; did you mean 'quickstart'?"),
        (["run", "missing.yaml"], "missing.yaml: cannot be read (No such file or directory)"),
        (["run", "tiny.yaml", "--set", "conditions.models.name=x"], "did you mean 'model'?"),
        (["run", "tiny.yaml", "--set", "seeds=0"], "(with --set seeds=0): seeds: "),
        (["run", "tiny.yaml", "--set", "seeds"], "write KEY=VALUE"),
        (["run", "tiny.yaml", "--set", "criteria.7.name=l1"], "criteria has 2 items"),
        (["run", "tiny.yaml", "--set", "criteria.0.name=l7"], "unknown criterion 'l7'"),
        (["check", "tiny.yaml", "--set", "conditions.calibration_images=99999"], "calibration_images"),
        (["run", "tiny.yaml", "--import", "no_such_module"], "import: there is no module no_such_module"),
        (["list", "--import", "no/such.py"], "import: there is no file"),
        (["run", "tiny.yaml", "--seeds", "0"], "argument --seeds: a whole number of at least 1, got 0"),
        (["run", "tiny.yaml", "--workers", "0"], "at least 1, got 0"),
        (["run", "tiny.yaml", "--seeds", "x"], "argument --seeds: a whole number of at least 1, got x"),
        (["run", "tiny.yaml", "--device", "tpu"], "tpu"),
        (["run", "tiny.yaml", "--set", "criteria=[]"], "criteria: must have 1 or more items, got 0"),
        (["run", "tiny.yaml", "--set", "conditions.model="], "conditions.model: must be a mapping of keys and values"),
        (["run"], "foad-bench run: the following arguments are required: SUITE (foad-bench run --help shows"),
        (["dance"], "dance"),
        ([], "COMMAND"),
    ],
)
def test_wrong_arguments(tiny: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == 1
    assert not Path("results").exists()


def test_every_precision_can_be_asked_for() -> None:
    for precision in get_args(Precision):
        arguments = make_parser(dict.fromkeys(("run", "check", "report", "list"), lambda _: 0)).parse_args(
            ["run", "quickstart", "--precision", precision]
        )
        assert arguments.precision == precision


def test_list_has_a_line_for_each_thing_a_suite_can_name(
    tmp_path: Path, add_criterion: AddCriterion, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "from foad_plugins.benchmarks.criteria import register_criterion\n"
        "@register_criterion('from-my-file')\n"
        "def mine(group):\n"
        "    '''Mine and nobody else's.'''\n"
    )
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.setattr(CRITERIA, "_factories", dict(CRITERIA._factories))
    assert cli.main(["list", "--import", str(tmp_path / "mine.py")]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in (*CRITERIA.names(), *MODELS.names(), *DATASETS.names(), *suite_names()):
        line = next(line for line in lines if line.split()[:1] == [name])
        assert len(line.split()) > 2
    assert any(line.split() == ["from-my-file", "Mine", "and", "nobody", "else's."] for line in lines)
    assert any(line.startswith("torchvision:NAME") for line in lines)


def test_a_report_without_records_names_the_command_that_makes_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"foad-bench: no records in {tmp_path}" in captured.err
    assert "foad-bench run" in captured.err
    assert not list(tmp_path.iterdir())


def test_a_closed_pipe_causes_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert cli.main(["list"]) == 1
        monkeypatch.undo()
    assert capsys.readouterr().err == ""


def test_characters_that_the_terminal_lacks_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    monkeypatch.setattr(report, "render", lambda folder: "90.1 \u00b1 0.2")
    assert cli.main(["report", "here"]) == 0
    assert written.getvalue().startswith(b"90.1 ? 0.2\n")


@pytest.mark.parametrize("name", cli._NEEDED)
@pytest.mark.parametrize("arguments", [["run", "tiny.yaml"], ["report"], ["list"], ["check", "tiny.yaml"]])
def test_a_missing_extra_is_named_before_anything_happens(
    name: str,
    arguments: list[str],
    tiny: str,
    calls: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    assert (captured.out, calls) == ("", [])
    assert captured.err == (
        f"foad-bench: the benchmarks cannot run: packages are not installed ({name}); "
        'install them with: pip install "foad-plugins[bench]"\n'
    )


def test_the_command_line_starts_without_the_extra() -> None:
    """In a process of its own, where nothing has been imported yet; some come with fvcore anyway."""
    program = (
        "import sys\n"
        f"for name in set({cli._NEEDED!r}) - {{'PIL', 'tabulate', 'yaml'}}:\n"
        "    sys.modules[name] = None\n"
        "from foad_plugins.benchmarks.cli import main\n"
        "sys.exit(main(['run', 'quickstart']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install "foad-plugins[bench]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def _foreground() -> Iterator[None]:
    """Ctrl-C as a terminal's foreground has it: where tests run in the background of a script it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_foreground")
@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_the_command_and_handlers_are_restored(
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    status: int,
    word: str,
) -> None:
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    later = []

    def asked(*arguments: object, **options: object) -> None:
        try:
            os.kill(os.getpid(), number)
            signal.sigtimedwait([], 5)
        finally:
            # A second one while workers are being ended would end all at once.
            later.append(signal.getsignal(number))

    monkeypatch.setattr(cli_run, "run_suite", asked)
    assert cli.main(["run", tiny]) == status
    assert later == [signal.SIG_DFL]
    assert capsys.readouterr().err == (
        f"\nfoad-bench: {word}: finished runs are kept, the same command continues from there\n"
    )
    assert {each: signal.getsignal(each) for each in handlers} == handlers


@pytest.mark.usefixtures("_foreground")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_forked_processes_ignore_the_signals(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    with handle_termination():
        handler = signal.getsignal(number)
        assert callable(handler)
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 0)
            handler(number, None)
        assert signal.getsignal(number) is handler
        with pytest.raises(TerminationRequested):
            handler(number, None)


def test_a_full_disk_is_reported_in_one_line(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli_run, "run_suite", full)
    assert cli.main(["run", tiny]) == 1
    assert capsys.readouterr().err == "foad-bench: [Errno 28] No space left on device\n"


def test_warnings_come_as_one_line_and_only_during_the_command(
    tiny: str, plain_report: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", tiny, "--quiet"]) == 0
    path = next(Path("results/tiny/records").glob("foad-*"))
    path.write_text("{")
    show = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert cli.main(["check", tiny]) == 0
    assert capsys.readouterr().err == f"foad-bench: warning: {path.name}: ignored, not a whole JSON file\n"
    assert warnings.showwarning is show
