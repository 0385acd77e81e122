"""Locks by which several sweeps over one folder share the work."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from ..errors import BenchmarkError


class Locks:
    """Locks on names, held by this process until it releases them or ends, however it ends.

    The lock files are empty and remain: if one were deleted while another process opens it, two could hold its lock.

    Args:
        folder: where the lock files are; created at the first lock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}

    def acquire(self, name: str) -> bool:
        """Lock a name; False if another process, or this one, holds its lock.

        Raises:
            BenchmarkError: if the lock file is a link or no regular file, or the file system has no locks.
        """
        if name in self._held:
            return False
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}.lock"
        try:
            # Not truncated, and no link is followed: anyone with access to the folder may have placed one there.
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise BenchmarkError(f"{path} cannot be used as a lock: {error.strerror}") from None
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise BenchmarkError(f"{path} cannot be used as a lock: it is no regular file")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        except OSError:
            os.close(file)
            raise BenchmarkError(f"{self._folder}: sweeps need locks, which its file system lacks") from None
        except BenchmarkError:
            os.close(file)
            raise
        self._held[name] = file
        return True

    def release(self, name: str) -> None:
        """Release a lock."""
        os.close(self._held.pop(name))

    def release_all(self) -> None:
        """Release every lock."""
        for name in list(self._held):
            self.release(name)
