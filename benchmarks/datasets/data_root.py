"""The user's data and weights, which do not come with the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import BenchmarkError

_HOW = "name one with --data-root DIR or in the environment variable FOAD_DATA"


class MissingFileError(BenchmarkError):
    """A suite needs a file that does not exist, or no folder with the user's files was given."""


@dataclass(frozen=True)
class DataRoot:
    """The folder with the user's files, which suites name relative to it.

    Attributes:
        folder: None if none was given, which is an error only for a suite that needs a file.
    """

    folder: Path | None = None

    def file(self, name: str) -> Path:
        """The file of that name below the folder; an absolute name is the file itself.

        Raises:
            MissingFileError: if there is no such file, or no data root was given.
        """
        return self._existing(name, "file", Path.is_file)

    def directory(self, name: str) -> Path:
        """The folder of that name below the folder; ``"."`` is that itself, and an absolute name the folder itself.

        Raises:
            MissingFileError: if there is no such folder, or no data root was given.
        """
        return self._existing(name, "folder", Path.is_dir)

    def path(self, name: str) -> Path:
        """The path of that name, whether it exists or not.

        Raises:
            MissingFileError: if no data root was given, or it is no folder.
        """
        if Path(name).is_absolute():
            return Path(name)
        what = "your files" if name == "." else name
        if self.folder is None:
            raise MissingFileError(f"this suite reads {what} from a folder of yours: {_HOW}")
        if not self.folder.is_dir():
            raise MissingFileError(f"this suite reads {what}, but there is no folder {str(self.folder)!r}: {_HOW}")
        return self.folder / name

    def _existing(self, name: str, kind: str, exists: Callable[[Path], bool]) -> Path:
        path = self.path(name)
        if not exists(path):
            where = "" if self.folder is None or Path(name).is_absolute() else f" in the data root {str(self.folder)!r}"
            raise MissingFileError(f"there is no {kind} {name!r}{where}, which this suite reads")
        return path
