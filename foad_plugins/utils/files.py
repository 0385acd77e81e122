"""Reading regular files alone, and writing files in one step."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

__all__ = ["NotRegularFileError", "open_regular", "replaceable", "write_atomically"]


class NotRegularFileError(OSError):
    """A path names a device, a FIFO or a folder, where a regular file is needed."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading.

    Raises:
        NotRegularFileError: it is another kind of file, which might never end.
        OSError: there is no file, or it cannot be opened.
    """
    # Opening a FIFO without O_NONBLOCK would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularFileError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def replaceable(path: Path) -> Path:
    """The path with links resolved, to write a file through them.

    Raises:
        FileExistsError: it exists and is no regular file, such as a device, a FIFO or a folder.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise FileExistsError(errno.EEXIST, f"{str(path)!r} exists and is no regular file: name another")
    return target


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that nobody ever reads half a file, even after a crash.

    The bytes are written to a temporary file in the same folder (a rename is atomic only within one file system),
    are forced to the disk, and get the final name in one step. Folders are made as needed. A symbolic link is written
    through to its target. On an error no temporary file remains, and a file that was there before is unchanged.

    Raises:
        FileExistsError: ``path`` exists and is no regular file, such as a device, a FIFO or a folder.
        OSError: it cannot be written.
    """
    path = replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files that only their owner can read.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
