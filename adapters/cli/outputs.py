"""The files that a command writes: looked at before the work, and never the reason that its result is lost."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import CommandError, UsageError

__all__ = ["check_outputs", "write_or_rescue"]


def check_outputs(outputs: Mapping[str, Path], inputs: Iterable[Path] = ()) -> None:
    """Refuse what could not be written in the end, or would be written over what is read. Nothing is created.

    Args:
        outputs: by option.
        inputs: files that the command reads.

    Raises:
        UsageError: an output is an input, or another output.
        CommandError: an output is a folder, or its folder cannot be written to.
    """
    taken = {path.resolve(): "is what the command reads" for path in inputs}
    for option, path in outputs.items():
        if path.is_dir():
            raise CommandError(f"{option} {str(path)!r} is a folder: name a file in it")
        if path.resolve() in taken:
            raise UsageError(f"{option} {str(path)!r} {taken[path.resolve()]}: name another file")
        taken[path.resolve()] = f"is {option} as well"
        folder = next(parent for parent in path.resolve().parents if parent.exists())
        try:
            # Trying is the only sure way: permissions do not tell of a read-only file system.
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise CommandError(f"{option} {str(path)!r} cannot be written: {error.strerror or error}") from error


def write_or_rescue(write: Callable[[Path], Any], path: Path) -> None:
    """Write a file, with its folders; if that fails, to a fresh temporary folder instead.

    Raises:
        CommandError: it was not written to ``path``; the message names the other place, if it is there now.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except Exception as error:
        try:
            rescue = Path(tempfile.mkdtemp(prefix="foad-")) / path.name
            write(rescue)
        except Exception as again:
            raise CommandError(f"{path} cannot be written: {error}; nor can {path.name} elsewhere: {again}") from error
        raise CommandError(f"{path} cannot be written: {error}; written to {rescue} instead") from error
