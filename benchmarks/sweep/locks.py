"""Which sweep works on what, so that several over one folder share the work."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import BenchmarkError

__all__ = ["Locks"]


class Locks:
    """Locks on file names, held by this process until it gives them back or ends, in whatever way.

    The lock files stay, empty: who deleted one that another had just opened would let two hold the same name.

    Args:
        folder: where the lock files lie; made at the first claim.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, FileLock] = {}

    def acquire(self, name: str) -> bool:
        """Claim a name; False if another process, or this one, has it.

        Raises:
            BenchmarkError: if the folder's file system has no locks.
        """
        if name in self._held:
            return False
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._folder / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        except NotImplementedError:
            raise BenchmarkError(
                f"{self._folder}: its file system has no locks, which sweeps need; use another"
            ) from None
        self._held[name] = lock
        return True

    def release(self, name: str) -> None:
        """Give up a claim."""
        self._held.pop(name).release()

    def release_all(self) -> None:
        """Give up every claim."""
        for name in list(self._held):
            self.release(name)
