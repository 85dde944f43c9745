"""Reading a connection, for whichever thread needs a frame.

The reader takes in one method at a time, so that the role passes on as soon as
somebody's wait is over, and gives it up before callbacks run. Heartbeats are
kept up by whoever waits for the socket.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .abstract_transport import _AbstractTransport
from .deadline import Deadline
from .events import EventQueue
from .exceptions import AMQPError
from .reader_role import ReaderRole

__all__ = ('FATAL_ERRORS', 'FrameReader')

#: Where they come from reading or writing, the connection is over.
FATAL_ERRORS = (OSError, AMQPError)

#: Events that one wait or drain handles beyond its own, at most.
UNSEEN_LIMIT = 1_000

#: Seconds that a thread whose write has failed leaves to one that reads.
LAST_WORDS_PATIENCE = 0.5


class FrameReader:
    """Reads the frames of *connection* and hands them to its ``on_inbound_frame``.

    Thread-safe: see `ReaderRole`.
    """

    def __init__(self, connection: Any, events: EventQueue) -> None:
        # Weak, for a lost connection is freed at once: see `Connection.collect`.
        self._connection: Callable[[], Any] = weakref.ref(connection)
        self._events = events
        self._frames_taken = 0
        self._role = ReaderRole()

    def renew_role(self) -> None:
        """In a forked child: the reader may be a thread that isn't there."""
        self._role = ReaderRole()

    def wake_all(self) -> None:
        """Have all who wait look whether their wait is over."""
        self._role.wake_all()

    def wait_until(self, ready: Callable[[], bool], deadline: Deadline) -> None:
        """Take in what comes until *ready*; ``socket.timeout`` at the deadline.

        Callbacks run meanwhile, unless they are another thread's to run.
        """
        while not ready():
            if not self._events.may_run_here() or not self._events.run_next():
                self.advance(ready, deadline, greedy=False)
        self.leave_nothing_unseen()

    def advance(self, ready: Callable[[], bool], deadline: Deadline, greedy: bool) -> bool:
        """Read one method, or wait until another thread has; whether it was this one."""
        connection = self._connection()
        outer = self._role.is_mine()
        try:
            if not outer and not self._role.take_or_wait(
                lambda: ready() or connection._is_lost(), deadline
            ):
                connection._usable_transport()
                return False
            if ready():
                return False
            while not self._read_frame(deadline, greedy):
                pass
            return True
        finally:
            if not outer:
                self._role.step_down()

    def read_one(self, deadline: Deadline) -> bool:
        """Read one frame; whether it completed a method."""
        connection = self._connection()
        outer = self._role.is_mine()
        try:
            if not outer and not self._role.take_or_wait(connection._is_lost, deadline):
                connection._usable_transport()
                return False
            return self._take_frame(deadline, greedy=False)
        finally:
            if not outer:
                self._role.step_down()

    def leave_nothing_unseen(self, reports: bool = False) -> None:
        """Handle what has left the kernel: an event loop can't see it.

        Kombu's hub sleeps between two calls of ``drain_events`` unless the
        socket is readable. Within a callback all is left to the drain that
        called it. An end is set to it, for callbacks that publish or call may
        have ever more taken in.

        :param reports: whether errors are raised too.
        """
        for _ in range(UNSEEN_LIMIT):
            if not self._events.may_run_here():
                return
            if self._events.run_next() or (reports and self._events.raise_next()):
                continue
            if not self.look(1, kernel=False):
                return

    def look(self, limit: int, kernel: bool = True) -> int:
        """Take in methods that are there, at most *limit*; their number.

        :param kernel: whether to ask the kernel for more.
        """
        count = 0
        outer = self._role.is_mine()
        try:
            if not outer and not self._role.try_take():
                return 0
            now = Deadline(0, time.monotonic())
            transport = self._connection()._usable_transport()
            while count < limit and (kernel or transport.has_unseen_frame()):
                count += self._read_frame(now, greedy=False)
        except TimeoutError:
            pass  # nothing more is there
        finally:
            if not outer:
                self._role.step_down()
        return count

    def hear_last_words(self, limit: int) -> None:
        """The stream is dead: raise what the peer said before, if it did.

        Another thread that reads finds it, for its wait has ended too; it is
        given a moment to do so.
        """
        connection = self._connection()
        deadline = Deadline(LAST_WORDS_PATIENCE, time.monotonic())
        with suppress(TimeoutError):
            while not connection._is_lost():
                outer = self._role.is_mine()
                try:
                    if outer or self._role.take_or_wait(connection._is_lost, deadline):
                        self.look(limit)
                        return
                finally:
                    if not outer:
                        self._role.step_down()

    def _read_frame(self, deadline: Deadline, greedy: bool) -> bool:
        connection = self._connection()
        if connection._read_overridden:
            completed: bool = connection.blocking_read(deadline.remaining(time.monotonic()))
            return completed
        return self._take_frame(deadline, greedy)

    def _take_frame(self, deadline: Deadline, greedy: bool) -> bool:
        """Read one frame and act upon it; whether it completed a method.

        An exception that falls between the two, a signal handler's say, would
        lose the frame: the count tells, and the connection is broken then.
        """
        connection = self._connection()
        transport = connection._usable_transport()
        try:
            frame = self._next_frame(transport, deadline, greedy)
            with self._events.collecting():
                completed: bool = connection.on_inbound_frame(frame)
            self._frames_taken += 1
            return completed
        except BaseException as exc:
            whole = not transport.read_torn and transport.frames_read == self._frames_taken
            if whole and (isinstance(exc, TimeoutError) or not isinstance(exc, FATAL_ERRORS)):
                raise
            raise connection._fail(exc)  # noqa: B904 - it is the cause, or has it as its own

    def _next_frame(
        self, transport: _AbstractTransport, deadline: Deadline, greedy: bool
    ) -> tuple[int, int, bytes]:
        """The next frame; heartbeats are kept up while it doesn't come."""
        connection = self._connection()
        while True:
            look = deadline.no_later_than(connection._heartbeat.next_look())
            try:
                return transport.read_frame(look, greedy)
            except TimeoutError:
                if look is deadline or not look.expired(time.monotonic()):
                    raise
                connection._keep_heartbeat(transport)
