"""The reader's role: one thread at a time reads a connection, for everybody.

Whoever needs a frame takes the role, if nobody has it, and reads one method;
the others wait here, not on the socket. Stepping down wakes them: one is the
next reader, and those whose wait is over go their way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from threading import TIMEOUT_MAX

from .deadline import Deadline

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('CallbackThreads', 'ReaderRole')


class ReaderRole:
    """A role for one thread, which may take it again while it has it.

    It is re-entrant for callbacks that run while their thread reads: those of
    subclasses that dispatch in their own way. What a signal handler raises may
    fall right behind the taking, so take it within the ``try`` whose
    ``finally`` steps down::

        outer = role.is_mine()
        try:
            if not outer and not role.try_take():
                return
            ...
        finally:
            if not outer:
                role.step_down()
    """

    __slots__ = ('_role', '_waiting')

    def __init__(self) -> None:
        self._role: Any = threading.RLock()
        # A held lock for each that waits. No Condition: a greenlet that is ended
        # within its `wait` leaves it in disorder.
        self._waiting: list[Any] = []

    def is_mine(self) -> bool:
        """Whether this thread has the role."""
        mine: bool = self._role._is_owned()
        return mine

    def try_take(self) -> bool:
        """Take the role, if it can be had at once."""
        taken: bool = self._role.acquire(False)
        return taken

    def take_or_wait(self, ready: Callable[[], bool], deadline: Deadline) -> bool:
        """Take the role, or wait for a change; whether the role was taken.

        Returns False when *ready* has become true or may have; raises
        ``socket.timeout`` at the deadline.
        """
        if self._role.acquire(False):
            return True
        woken = threading.Lock()
        woken.acquire()
        try:
            # Noted down before the second try: a reader that steps down between
            # the two tries either leaves the role to be had, or sees us.
            self._waiting.append(woken)
            if self._role.acquire(False):
                return True
            if not ready():
                remaining = deadline.remaining(time.monotonic())
                if remaining == 0:
                    raise TimeoutError('no event came in time')
                woken.acquire(timeout=-1 if remaining is None else min(remaining, TIMEOUT_MAX))
        finally:
            if woken in self._waiting:  # a signal handler may have raised before it was
                self._waiting.remove(woken)
        return False

    def step_down(self) -> None:
        """Give the role up, if this thread has it."""
        if not self.is_mine():
            return  # and wake nobody: those who wait would wake each other for ever
        self._role.release()
        if self._waiting:
            self.wake_all()

    def wake_all(self) -> None:
        """Have all who wait look whether their wait is over."""
        # A copy, for those woken take themselves off the list.
        for woken in self._waiting.copy():
            with suppress(RuntimeError):  # by another thread, at the same moment
                woken.release()


class CallbackThreads:
    """The threads that are within a callback of one connection."""

    __slots__ = ('_threads',)

    def __init__(self) -> None:
        self._threads: set[int] = set()

    def enter(self) -> None:
        """This thread runs a callback from now on."""
        self._threads.add(threading.get_ident())

    def leave(self) -> None:
        """This thread's callback has ended."""
        self._threads.discard(threading.get_ident())

    def ident(self) -> int:
        """The number of this thread."""
        return threading.get_ident()

    def has_me(self) -> bool:
        """Whether this thread is within a callback."""
        return threading.get_ident() in self._threads
