"""The waiting of a connection: for events, and for what is to be called later.

Whoever drains handles one event after the other: a message's callback, an error
to raise, a timer that is due. None of it runs while a lock is held.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf
from types import BuiltinFunctionType

from .deadline import Deadline, checked_seconds
from .waker import Woken
from .writing_connection import WritingConnection

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

    from .frame_reader import FrameReader
    from .timers import Timer, TimerQueue

__all__ = ('DrainingConnection',)

NO_EVENT = 'no event came in time'


def _never() -> bool:
    """A condition that nothing fulfils."""
    return False


class DrainingConnection(WritingConnection):
    """What a connection waits for; for its parameters see `WritingConnection`."""

    read_timeout: float | None
    _credentials: Any
    _drain_overridden: bool
    # Made when they are used first; the lock is taken under any other.
    _timers: TimerQueue | None = None
    _timers_lock: Any = None
    _chore_was_last = False

    # -- events

    def drain_events(self, timeout: float | None = None) -> None:
        """Wait for one event and handle it: a delivery, a return, a timer, any method.

        :param timeout: seconds in all; 0 looks without waiting. By default
            ``read_timeout``.

        Raises ``socket.timeout`` when nothing came in time, the errors that
        close the connection, and the error of a channel that the broker
        closed while nobody waited on it. An event loop calls it with 0 while
        the socket is readable; what the socket can't show any more, because
        TLS or a callback's own calls have read it, is then handled along.
        Thread-safe; callbacks run in the calling thread.
        """
        polls = timeout is not None and timeout == 0
        reader = self._reader
        try:
            if not _deliver_next(reader, polls):
                limit = self._patience() if timeout is None else Deadline(timeout, time.monotonic())
                if not self._drain_one(_never, limit, polls):
                    raise TimeoutError(NO_EVENT)
        except BaseException:
            self._run_behind_loss()
            raise
        if _may_hide(reader, polls):
            reader.leave_nothing_unseen(reports=True)

    def _patience(self) -> Deadline:
        """When a wait ends that nobody has set an end to."""
        return Deadline(self._usable_transport().patience(self.read_timeout), time.monotonic())

    def _run_lasting(self) -> None:
        """Run what no loss may keep from running, or leave it to another thread that drains."""
        if self._forked() or not self._events.has_lasting():
            return
        if self._events.may_run_here():
            self._events.run_lasting()
        else:
            self._wake_drainers()

    def _run_behind_loss(self) -> None:
        """As `_run_lasting`, where the connection is lost: nothing else can be done any more."""
        if self._is_lost():
            self._run_lasting()

    def _drain_until(self, ready: Callable[[], bool], deadline: Deadline | None) -> bool:
        """Handle events until *ready*; False at the deadline.

        Without a deadline, the wait for each event ends as in `drain_events`.
        """
        try:
            return self._drain_on(ready, deadline)
        except BaseException:
            self._run_behind_loss()
            raise

    def _drain_on(self, ready: Callable[[], bool], deadline: Deadline | None) -> bool:
        while not ready():
            if self._drain_overridden:
                self._drain_in_its_own_way(deadline)
            elif not _deliver_next(self._reader, False):
                step = self._patience() if deadline is None else deadline
                if not self._drain_one(ready, step, False) and deadline is None:
                    raise TimeoutError(NO_EVENT)
            if deadline is not None and deadline.expired(time.monotonic()):
                return ready()
        return True

    def _drain_in_its_own_way(self, deadline: Deadline | None) -> None:
        """Handle an event as a subclass does, if one comes by the deadline."""
        remaining = None if deadline is None else deadline.remaining(time.monotonic())
        try:
            self.drain_events(timeout=remaining)
        except TimeoutError:
            if deadline is None or not deadline.expired(time.monotonic()):
                raise

    def _drain_one(self, ready: Callable[[], bool], deadline: Deadline, polls: bool) -> bool:
        """Handle one event, or wait until *ready*; False at the deadline."""
        self._usable_transport()
        self._events.note_drainer(polls)
        if self._reader.has_chores and self._take_turns(polls):
            return True
        while not self._events.run_any():
            if ready() or self._do_chore():
                return True
            came = self._read_event(ready, deadline, polls)
            if came is not None:
                return came
        return True

    def _take_turns(self, polls: bool) -> bool:
        """Do a chore or handle what has come: in turn, where there are both."""
        was_last, self._chore_was_last = self._chore_was_last, False
        if not was_last and self._do_chore():
            self._chore_was_last = True
            return True
        if self._reader.deliver_next(polls):
            return True
        return was_last and (
            self._events.run_any() or (self._reader.look(1) > 0 and self._handled())
        )

    def _handled(self) -> bool:
        """A method has been read: handle what it brought, if it brought anything."""
        self._events.run_any()
        return True

    def _read_event(
        self, ready: Callable[[], bool], deadline: Deadline, polls: bool
    ) -> bool | None:
        """Read something and handle it; False at the deadline, None to look again."""
        step = deadline.no_later_than(self._next_chore())
        if not polls:
            self._be_wakeable(step)

        def over() -> bool:
            return ready() or self._events.pending() or self._has_earlier_timer(step)

        try:
            came = self._reader.wait_for_more(over, step)
            if not came and not self._reader.advance(over, step):
                return None
        except Woken:
            return None
        except TimeoutError:
            now = time.monotonic()
            if deadline.expired(now):
                return False
            if not step.expired(now):
                raise
            return None
        if came:
            return self._reader.deliver_next(polls) or None
        return self._handled()

    def _wait_until(self, ready: Callable[[], bool], deadline: Deadline) -> None:
        """Handle what comes until *ready*; ``socket.timeout`` at the deadline."""
        if not self._drain_overridden:
            try:
                self._reader.wait_until(ready, deadline)
            except BaseException:
                self._run_behind_loss()
                raise
            return
        self._flush(deadline)
        while not ready():
            self.drain_events(timeout=deadline.remaining(time.monotonic()))

    def blocking_read(self, timeout: float | None = None) -> bool:
        """Read one frame and take it in; whether it completed a method.

        Its callbacks are left to `drain_events`.
        """
        return self._reader.read_one(Deadline(timeout, time.monotonic()))

    def sleep(self, seconds: float) -> None:
        """Wait, and handle events and timers and keep up heartbeats meanwhile. Thread-safe.

        Raises what `drain_events` does, but for the ``socket.timeout``.
        """
        self._drain_until(_never, Deadline(checked_seconds('seconds', seconds), time.monotonic()))

    # -- chores

    def _do_chore(self) -> bool:
        """Do what is due, if anything is: an event like others."""
        timers = self._timers
        if timers is not None:
            with self._timers_lock:
                callback = timers.pop_due(time.monotonic())
            if callback is not None:
                self._events.run(_call, callback)
                return True
        return self._renew_secret()

    def _next_chore(self) -> float:
        """When something is due, in monotonic seconds."""
        due = inf if self._credentials is None else self._credentials.renew_at
        timers = self._timers
        if timers is not None:
            with self._timers_lock:
                due = min(due, timers.next_due())
        return due

    def _has_earlier_timer(self, deadline: Deadline) -> bool:
        timers = self._timers
        return timers is not None and timers.is_earlier(deadline.at)

    def _renew_secret(self) -> bool:
        """Hand in another secret, if it is time; an event like others."""
        credentials = self._credentials
        return credentials is not None and credentials.renew_in_time(self.update_secret)

    def update_secret(self, new_secret: str | bytes, reason: str) -> None:
        """Replace the secret that the connection was authenticated with."""
        raise NotImplementedError

    # -- timers

    def call_later(self, delay: float, fn: Callable[[], Any]) -> Timer:
        """Have *fn* called once, in *delay* seconds, by a thread that drains the connection.

        That is within `drain_events`, `sleep`, `Channel.consume` or
        `Channel.start_consuming`: one timer is one event, and what it raises
        comes out of them. What is due first is called first; of two that are
        due at the same time, the one that was asked for first.

        Raises `RecoverableConnectionError` on a connection that isn't open.
        What is pending when it ends is dropped. Thread-safe.
        """
        return self._schedule(checked_seconds('delay', delay), fn)

    def call_soon_threadsafe(self, fn: Callable[[], Any]) -> Timer:
        """Have *fn* called as soon as may be by a thread that drains the connection.

        From whichever thread; one that waits in `drain_events` is woken. For
        the rest see `call_later`.
        """
        return self._schedule(0, fn)

    def _schedule(self, delay: float, fn: Callable[[], Any]) -> Timer:
        if not callable(fn):
            raise TypeError(f"argument 'fn': {fn!r} can't be called")
        self._check_usable()
        timers = self._timers
        if timers is None:
            timers = self._make_timers()
        timer = timers.add(time.monotonic() + delay, fn)
        self._wake_drainers()
        return timer

    def _make_timers(self) -> TimerQueue:
        from .timers import TimerQueue  # with the first timer; see `amqp.utils`

        with self._cause_lock:
            if self._timers is None:
                self._timers_lock = threading.Lock()
                self._timers = TimerQueue()
            self._reader.has_chores = True
            return self._timers

    def _wake_drainers(self) -> None:
        """Have all who drain look whether there is something to do."""
        transport = self._transport
        self._reader.wake_all()
        if transport is not None:
            transport.wake()

    def _be_wakeable(self, deadline: Deadline) -> None:
        """Have a wait up to *deadline* end when another thread asks for something.

        What that takes, two descriptors, is spared where there is no other thread.
        """
        transport = self._usable_transport()
        if not transport.is_wakeable():
            native = isinstance(threading.get_ident, BuiltinFunctionType)
            if self._timers is None and native and threading.active_count() == 1:
                return
            try:
                transport.make_wakeable()
            except OSError:
                self._usable_transport()  # or the error that says why there is none any more
                raise
        deadline.wakeable = True

    def _tear_down(self, cause: BaseException, here: bool = False) -> bool:
        first = super()._tear_down(cause, here)
        self._timers = None
        return first


def _call(fn: Callable[[], Any]) -> Any:
    return fn()


# Functions, for the sake of the types that the .pxd gives their argument.


def _deliver_next(reader: FrameReader, polls: bool) -> bool:
    return not reader.has_chores and reader.deliver_next(polls)


def _may_hide(reader: FrameReader, polls: bool) -> bool:
    return reader.may_hide(polls)
