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
from .assembly import take_delivery
from .consumers import Consumers
from .deadline import Deadline
from .events import EventQueue
from .exceptions import AMQPError
from .thread_roles import ReaderRole

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
        self._inbound = None
        self._buffer = None
        self.consumers = {}
        self._last = None
        self._last_id = 0
        self.max_message_size = 1 << 29

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
        if not self._role.take_or_wait(lambda: ready() or connection._is_lost(), deadline):
            connection._usable_transport()
            return False
        try:
            if ready():
                return False
            while not self._read_frame(deadline, greedy):
                pass
            return True
        finally:
            self._role.step_down()

    def deliver_next(self) -> bool:
        """Run the callback of the delivery that the read buffer begins with; False if that won't do."""
        buffer = self._buffer
        if buffer is None or buffer.start == buffer.end or self._inbound.awaited or self._events.pending():
            return False
        if not self._role.try_take():
            return False
        try:
            message = take_delivery(buffer, self.max_message_size)
            if message is None:
                return False
            self._frames_taken = buffer.frames_read
            if buffer.channel_id == self._last_id:
                consumers = self._last
            else:
                consumers = self.consumers[buffer.channel_id]
                self._last = consumers
                self._last_id = buffer.channel_id
            callback = consumers.callbacks.get(buffer.consumer_tag)
            message.channel = consumers.channel
            message._is_text = consumers.auto_decode
        finally:
            self._role.step_down()
        self._events.run(callback, message)
        return True

    def read_one(self, deadline: Deadline) -> bool:
        """Read one frame; whether it completed a method."""
        connection = self._connection()
        if not self._role.take_or_wait(connection._is_lost, deadline):
            connection._usable_transport()
            return False
        try:
            return self._take_frame(deadline, greedy=False)
        finally:
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
        if not self._role.try_take():
            return 0
        count = 0
        try:
            now = Deadline(0, time.monotonic())
            transport = self._connection()._usable_transport()
            while count < limit and (kernel or transport.has_unseen_frame()):
                count += self._read_frame(now, greedy=False)
        except TimeoutError:
            pass  # nothing more is there
        finally:
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
                if self._role.take_or_wait(connection._is_lost, deadline):
                    try:
                        self.look(limit)
                    finally:
                        self._role.step_down()
                    return

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
