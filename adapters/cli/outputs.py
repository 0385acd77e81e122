"""The files that a command writes: checked before the work, and written elsewhere if the place fails."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import CommandError, UsageError

__all__ = ["check_outputs", "write_or_rescue"]


def check_outputs(outputs: Mapping[str, Path], inputs: Iterable[Path] = ()) -> None:
    """Refuse outputs that could not be written, or that are inputs. Nothing is created.

    Args:
        outputs: by option.
        inputs: files that the command reads.

    Raises:
        UsageError: an output is an input, or another output.
        CommandError: an output exists and is no regular file, or its folder cannot be written to.
    """
    taken = {path.resolve(): "is an input of the command" for path in inputs}
    for option, path in outputs.items():
        if path.exists() and not path.is_file():
            raise CommandError(f"{option} {str(path)!r} exists and is no regular file: name another file")
        if path.resolve() in taken:
            raise UsageError(f"{option} {str(path)!r} {taken[path.resolve()]}: name another file")
        taken[path.resolve()] = f"is also {option}"
        folder = next(parent for parent in path.resolve().parents if parent.exists())
        try:
            # Permissions do not show that a file system is read-only.
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise CommandError(f"{option} {str(path)!r} cannot be written: {error.strerror or error}") from error


def write_or_rescue(write: Callable[[Path], Any], path: Path) -> None:
    """Write a file, with its folders; if that fails, to a fresh temporary folder instead.

    Raises:
        CommandError: it was not written to ``path``; the message names the temporary folder, if it was written there.
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
