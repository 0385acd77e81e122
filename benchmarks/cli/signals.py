"""Ctrl-C and SIGTERM as exceptions, so that workers end and finished runs are kept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TerminationRequested(BaseException):
    """The user or the system ended this process; as KeyboardInterrupt, it should be caught only at the outermost place.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.strsignal(number))
        self.number = number


@contextmanager
def handle_termination() -> Iterator[None]:
    """Raise :class:`TerminationRequested` at the first SIGINT or SIGTERM; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A background process of a script ignores Ctrl-C, and must continue to do so.
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }

    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        # Processes that read images are forks of this one: Ctrl-C reaches them too, and their parent ends them.
        if os.getpid() != owner:
            return
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise TerminationRequested(number)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
