"""A folder of records, in which unusable files are skipped with a warning."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from ...utils.files import NotRegularFileError, open_regular, write_atomically
from .schema import READABLE_VERSIONS, FailureRecord, RunInputs, RunRecord, upgraded


class RecordWarning(UserWarning):
    """A file in the records folder cannot be used."""


_MAX_BYTES = 16_000_000

R = TypeVar("R", RunRecord, FailureRecord)


class _Store(Generic[R]):
    """Reads and writes the records of one folder.

    Args:
        folder: of the ``*.json`` files; created at the first write.
    """

    kind: type[R]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, inputs: RunInputs) -> Path:
        """Path of the record of a run with these inputs, whether it exists or not."""
        return self.folder / inputs.file_name

    def save(self, record: R) -> Path:
        """Write a record atomically, replacing an earlier one with the same inputs; returns its path."""
        path = self.path(record.inputs)
        write_atomically(path, (record.model_dump_json(indent=2) + "\n").encode())
        return path

    def all(self) -> list[R]:
        """Every valid record, each run once, in the order of file names; other files cause a warning."""
        found: dict[str, R] = {}
        for path in sorted(self.folder.glob("*.json")):
            record = self._read(path)
            if record is None:
                continue
            key = record.inputs.key
            if key in found:
                warnings.warn(f"{path.name}: another file holds the same run, one counts", RecordWarning, stacklevel=2)
            if key not in found or path == self.path(record.inputs):
                found[key] = record
        return list(found.values())

    def remove(self, runs: Iterable[RunInputs]) -> None:
        """Delete the records of these runs, where they exist."""
        for inputs in runs:
            self.path(inputs).unlink(missing_ok=True)

    def _read(self, path: Path) -> R | None:
        try:
            content = _load(path)
            version = content.get("schema_version") if isinstance(content, dict) else None
            if isinstance(version, int) and version not in READABLE_VERSIONS:
                known = ", ".join(map(str, READABLE_VERSIONS))
                reason = f"schema version {version}, this program reads {known}"
            else:
                return self.kind.model_validate(upgraded(content) if isinstance(content, dict) else content)
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"not a valid record ({'.'.join(map(str, first['loc'])) or 'top level'}: {first['msg']})"
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            reason = "not a whole JSON file"
        except ValueError as error:
            reason = str(error)
        except NotRegularFileError:
            reason = "not a regular file"
        except OSError as error:
            reason = error.strerror or "cannot be read"
        warnings.warn(f"{path.name}: ignored, {reason}", RecordWarning, stacklevel=3)
        return None


def _load(path: Path) -> Any:
    with open_regular(path) as stream:
        data = stream.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"more than {_MAX_BYTES:,} bytes")
    # By default JSON's numbers may be infinite, NaN, or integers that no float can take.
    return json.loads(data, parse_float=_finite, parse_int=_finite_int, parse_constant=_finite)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is not finite")
    return value


def _finite_int(text: str) -> int:
    _finite(text)
    return int(text)


class RecordStore(_Store[RunRecord]):
    """The finished runs of a results folder."""

    kind = RunRecord

    def find(self, inputs: RunInputs) -> RunRecord | None:
        """The finished run with inputs of the same key, None if there is no valid record of it."""
        path = self.path(inputs)
        record = self._read(path) if path.exists() else None
        if record is not None and record.inputs.key != inputs.key:
            warnings.warn(f"{path.name}: ignored, it holds a run with other inputs", RecordWarning, stacklevel=2)
            return None
        return record


class FailureStore(_Store[FailureRecord]):
    """The runs of a results folder whose last attempt failed."""

    kind = FailureRecord
