"""The user's data and weights, which do not come with the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import BenchmarkError


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
        """The file of that name below the folder.

        Raises:
            MissingFileError: if there is no such file, or no folder was given.
        """
        path = self.path(name)
        if not path.is_file():
            raise MissingFileError(f"this suite reads {name}, which is not under the data root {self.folder}")
        return path

    def directory(self, name: str) -> Path:
        """The folder of that name below the folder; ``"."`` is that itself.

        Raises:
            MissingFileError: if there is no such folder, or no data root was given.
        """
        path = self.path(name)
        if not path.is_dir():
            raise MissingFileError(
                f"this suite reads the folder {name}, which is not under the data root {self.folder}"
            )
        return path

    def path(self, name: str) -> Path:
        """The path of that name, whether it exists or not.

        Raises:
            MissingFileError: if no folder was given.
        """
        if self.folder is None:
            raise MissingFileError(
                f"this suite reads {name} from a folder of yours: name it with --data-root DIR or in the environment "
                "variable FOAD_DATA"
            )
        return self.folder / name
