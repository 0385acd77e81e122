from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest

from foad_plugins.benchmarks.records.schema import FailureRecord

from ..conftest import MakeRecord

MakeFailure: TypeAlias = Callable[..., FailureRecord]


def cells(line: str) -> list[str]:
    """The cells of a line of a Markdown table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def make_failure(make_record: MakeRecord) -> MakeFailure:
    """As ``make_record``, for a run that failed."""

    def make(*args: object, reason: str = "it broke", **changes: object) -> FailureRecord:
        record = make_record(*args, **changes)
        return FailureRecord(
            inputs=record.inputs,
            environment=record.environment,
            created=record.created,
            reason=reason,
            details="Traceback",
        )

    return make
