"""One run, one JSON file."""

from .schema import FailureRecord, RunRecord
from .store import FailureStore, RecordStore

__all__ = ["FailureRecord", "FailureStore", "RecordStore", "RunRecord"]
