from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from foad_plugins.benchmarks import cli, runner
from foad_plugins.benchmarks.criteria import CRITERIA
from foad_plugins.benchmarks.suite import Suite
from foad_plugins.benchmarks.suites import SUITES


@pytest.fixture(autouse=True)
def _tiny(tiny_suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny suite under the name `tiny` while a test runs."""
    monkeypatch.setitem(SUITES._entries, "tiny", tiny_suite)
    monkeypatch.delenv("FOAD_DATA", raising=False)


def test_run_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "tiny", "--seeds", "1"]) == 0
    first = capsys.readouterr().out
    folder = tmp_path / "results" / "tiny"
    assert "2 runs in" in first
    assert "seed 0  foad" in first
    assert len(list((folder / "records").glob("*.json"))) == 2
    assert (folder / "accuracy_flops.png").read_bytes().startswith(b"\x89PNG")
    markdown = (folder / "leaderboard.md").read_text()
    (folder / "leaderboard.md").unlink()
    assert cli.main(["report", "--out", "results/tiny"]) == 0
    second = capsys.readouterr().out
    assert (folder / "leaderboard.md").read_text() == markdown
    assert second.strip() in first
    assert cli.main(["run", "tiny", "--quiet"]) == 0
    assert capsys.readouterr().out == second


def test_options_reach_the_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(suite: Suite, folder: Path, *, data_root: Path | None, fresh: bool, quiet: bool) -> runner.Outcome:
        seen.append((suite.name, suite.seeds, folder, data_root, fresh, quiet))
        return runner.Outcome((), 0)

    monkeypatch.setattr(runner, "run_suite", spy)
    mine, here = ["--data-root", "mine"], Path("results/tiny")
    cli.main(["run", "tiny", "--out", str(tmp_path), "--seeds", "7", "--fresh", "--quiet", *mine])
    cli.main(["run", "tiny"])
    monkeypatch.setenv("FOAD_DATA", "theirs")
    cli.main(["run", "tiny"])
    cli.main(["run", "tiny", *mine])
    monkeypatch.setenv("FOAD_DATA", "")
    cli.main(["run", "tiny"])
    assert seen == [
        ("tiny", 7, tmp_path, Path("mine"), True, True),
        ("tiny", 1, here, None, False, False),
        ("tiny", 1, here, Path("theirs"), False, False),
        ("tiny", 1, here, Path("mine"), False, False),
        ("tiny", 1, here, None, False, False),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name it with --data-root DIR or in the environment variable FOAD_DATA"),
        (["--data-root", "nowhere"], "weights/small.safetensors, which is not under the data root nowhere"),
    ],
)
def test_data_that_is_not_there_is_one_line(
    options: list[str],
    message: str,
    given_suite: Suite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(SUITES._entries, "given", given_suite)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "given", *options]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("foad-bench: this suite reads weights/small.safetensors")
    assert captured.err.endswith(f"{message}\n")
    assert not (tmp_path / "results").exists()


def test_an_unknown_suite_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "quikstart"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "foad-bench run: unknown suite 'quikstart'; did you mean 'quickstart'? "
        "(known: cifar10-resnet56-compensation, cifar10-resnet56-quarter, quickstart, tiny)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tiny", "--seeds", "0"], "at least 1, got 0"),
        (["run", "tiny", "--seeds", "x"], "invalid"),
        (["run"], "SUITE"),
        (["dance"], "dance"),
        ([], "COMMAND"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert "report" in capsys.readouterr().out


def test_list_has_a_line_for_each_criterion_and_suite(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in (*CRITERIA.names(), *SUITES.names()):
        line = next(line for line in lines if line.split()[:1] == [name])
        assert len(line.split()) > 2


def test_a_report_of_nothing_says_how_to_make_something(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "--out", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"foad-bench: no records in {tmp_path}" in captured.err
    assert "foad-bench run" in captured.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["pydantic", "sklearn", "tabulate", "matplotlib"])
@pytest.mark.parametrize("arguments", [["run", "tiny"], ["report"], ["list"]])
def test_a_missing_extra_is_named_before_anything_happens(
    name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(runner, "run_suite", lambda *args, **kwargs: pytest.fail("it ran"))
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"foad-bench: the benchmarks need packages that are not installed ({name}); "
        'install them with: pip install "foad-plugins[bench]"\n'
    )


def test_the_command_line_starts_without_the_extra() -> None:
    """In a process of its own, where nothing has been imported yet; tabulate comes with fvcore anyway."""
    program = (
        "import sys\n"
        "for name in ('pydantic', 'sklearn', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "from foad_plugins.benchmarks.cli import main\n"
        "sys.exit(main(['run', 'quickstart']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install "foad-plugins[bench]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_ends_cleanly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_suite", interrupted)
    assert cli.main(["run", "tiny"]) == 130
    assert "interrupted: finished runs are kept" in capsys.readouterr().err


def test_a_full_disk_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner, "run_suite", full)
    assert cli.main(["run", "tiny"]) == 1
    assert capsys.readouterr().err == "foad-bench: [Errno 28] No space left on device\n"


def test_warnings_come_as_one_line_and_only_during_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "tiny", "--out", str(tmp_path), "--quiet"]) == 0
    path = next((tmp_path / "records").glob("foad-*"))
    path.write_text("{")
    show = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert cli.main(["report", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().err == f"foad-bench: warning: {path.name}: ignored, not a whole JSON file\n"
    assert warnings.showwarning is show
