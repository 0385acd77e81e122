"""Files of the user's own: data and weights that do not come with the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import BenchmarkError

__all__ = ["DataRoot", "MissingFileError"]


class MissingFileError(BenchmarkError):
    """A suite needs a file that is not there, or nobody said where the user's files are."""


@dataclass(frozen=True)
class DataRoot:
    """The folder under which the user's files lie, as suites name them.

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
            MissingFileError: if there is no such folder, or none was given to look under.
        """
        path = self.path(name)
        if not path.is_dir():
            raise MissingFileError(
                f"this suite reads the folder {name}, which is not under the data root {self.folder}"
            )
        return path

    def path(self, name: str) -> Path:
        """Where something of that name lies, or would lie.

        Raises:
            MissingFileError: if no folder was given.
        """
        if self.folder is None:
            raise MissingFileError(
                f"this suite reads {name} from a folder of yours: name it with --data-root DIR or in the environment "
                "variable FOAD_DATA"
            )
        return self.folder / name
