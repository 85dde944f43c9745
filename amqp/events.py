"""What is left to do once a method has been read: callbacks to run, errors to raise.

The thread that reads does only what the protocol demands. Everything a user
wrote runs from here, when the reader's role has been given up, so that a
callback may take its time, use the connection, or raise.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from .thread_roles import CallbackThreads

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

    Event = tuple[Any, int, Callable[..., Any], tuple[Any, ...]]

__all__ = ('EventQueue',)


class _Lasting:
    """Stands for a channel that loses nothing."""

    incarnation = 0


class EventQueue:
    """Callbacks and reports of one connection, each with its channel, in order.

    What a channel added before it lost its state (it has another *incarnation*
    then) is passed over: the broker has taken those deliveries back.

    A callback is a user's. A report raises an error that no call is waiting
    for: only ``drain_events`` runs it. Thread-safe.

    A lasting callback is run in any case: when its turn comes, or where a loss
    has made that impossible by whoever finds that out: see `run_lasting`.
    """

    __slots__ = (
        '_callbacks',
        '_drainer',
        '_drainer_ident',
        '_drainer_polls',
        '_in_callback',
        '_inbound_thread',
        '_lasting',
        '_reports',
    )

    def __init__(self) -> None:
        self._callbacks: deque[Event] = deque()
        self._reports: deque[Event] = deque()
        self._lasting: deque[tuple[Callable[[Any], Any], Any]] = deque()
        self._inbound_thread = 0
        self._in_callback = CallbackThreads()
        self._drainer: threading.Thread | None = None
        self._drainer_ident = 0
        self._drainer_polls = False

    def __len__(self) -> int:
        return len(self._callbacks)

    def pending(self) -> bool:
        """Whether there is anything for a drain to do."""
        return bool(self._callbacks or self._reports)

    def begin_collecting(self) -> int:
        """This thread takes frames in: what it adds is put off.

        Returns what is to be given to `end_collecting`.
        """
        outer, self._inbound_thread = self._inbound_thread, self._in_callback.ident()
        return outer

    def end_collecting(self, outer: int) -> None:
        """It does so no longer."""
        self._inbound_thread = outer

    def is_collecting_here(self) -> bool:
        """Whether this thread is taking frames in."""
        return self._inbound_thread == self._in_callback.ident()

    def add(self, channel: Any, callback: Callable[..., Any], *args: Any) -> None:
        """Have a callback run later; at once where this thread takes no frames in.

        The latter is for subclasses of a connection that put methods aside
        and dispatch them in their own threads.
        """
        self._put(self._callbacks, channel, callback, args)

    def add_lasting(self, callback: Callable[[Any], Any], argument: Any) -> None:
        """As `add`, whatever becomes of the channel or of the connection."""
        self._lasting.append((callback, argument))
        self._put(self._callbacks, _Lasting, self._run_one_lasting, ())

    def add_behind_loss(self, callback: Callable[[Any], Any], argument: Any) -> None:
        """As `add_lasting`, by whoever ends a channel and may hold locks."""
        self._lasting.append((callback, argument))
        self._callbacks.append((_Lasting, _Lasting.incarnation, self._run_one_lasting, ()))

    def add_behind_end(self, callback: Callable[[Any], Any], argument: Any) -> None:
        """As `add_behind_loss`, where nothing is drained any more: left to `run_lasting`."""
        self._lasting.append((callback, argument))

    def _run_one_lasting(self) -> None:
        try:
            callback, argument = self._lasting.popleft()
        except IndexError:
            return  # `run_lasting` has been here
        callback(argument)

    def has_lasting(self) -> bool:
        """Whether there are lasting callbacks that haven't run."""
        return bool(self._lasting)

    def run_lasting(self) -> None:
        """Run them all, unless this thread takes frames in.

        What one of them raises is raised at the end; of several errors, the
        last one with the others as its context.
        """
        failure: Exception | None = None
        while self._lasting and not self.is_collecting_here():
            failure = self._outcome_of_one_lasting(failure)
        if failure is not None:
            raise failure

    def _outcome_of_one_lasting(self, earlier: Exception | None) -> Exception | None:
        try:
            self.run(EventQueue._run_one_lasting, self)
        except Exception as exc:  # noqa: BLE001 - `run_lasting` raises it
            if exc.__context__ is None:
                exc.__context__ = earlier
            return exc
        return earlier

    def add_report(self, channel: Any, report: Callable[..., Any], *args: Any) -> None:
        """Have an error raised by the next drain."""
        self._put(self._reports, channel, report, args)

    def _put(
        self,
        events: deque[Event],
        channel: Any,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        if self.is_collecting_here():
            events.append((channel, channel.incarnation, callback, args))
        else:
            callback(*args)

    def postpone(self, channel: Any, callback: Callable[..., Any]) -> None:
        """Have a callback run later, by whoever drains. Takes no lock."""
        self._callbacks.append((channel, channel.incarnation, callback, ()))

    def clear(self) -> None:
        """Forget everything."""
        self._callbacks.clear()
        self._reports.clear()

    def run_next(self) -> bool:
        """Run the next callback; whether there was one."""
        event = _next_of(self._callbacks)
        if event is None:
            return False
        _, _, callback, args = event
        outer = self._in_callback.has_me()
        try:
            if not outer:
                self._in_callback.enter()
            callback(*args)
        finally:
            if not outer:
                try:
                    self._in_callback.leave()
                except BaseException:  # a signal handler's, right before
                    self._in_callback.leave()
                    raise
        return True

    def run(self, callback: Callable[[Any], Any], argument: Any) -> None:
        """Run a callback of one argument now, before what has been added."""
        outer = self._in_callback.has_me()
        try:
            if not outer:
                self._in_callback.enter()
            callback(argument)
        finally:
            if not outer:
                try:
                    self._in_callback.leave()
                except BaseException:  # a signal handler's, right before
                    self._in_callback.leave()
                    raise

    def raise_next(self) -> bool:
        """Raise the next error; whether there was a report, for it may be out of date."""
        event = _next_of(self._reports)
        if event is None:
            return False
        _, _, report, args = event
        report(*args)
        return True

    def run_any(self) -> bool:
        """Run the next callback or, without one, raise the next error; whether there was any."""
        return self.run_next() or self.raise_next()

    def note_drainer(self, polls: bool) -> None:
        """This thread drains the connection; *polls* when it won't wait for frames."""
        me = self._in_callback.ident()
        if self._drainer_ident != me:
            self._drainer_ident = me
            self._drainer = threading.current_thread()
        self._drainer_polls = polls

    def may_run_here(self) -> bool:
        """Whether a thread that waits for something else may run callbacks meanwhile.

        Not within a callback: the depth of the stack would depend on what the
        broker sends. Not where another thread drains: callbacks are its
        business. A thread that polls is no such thread: it waits on the
        socket, which says nothing of what has been read already.
        """
        if self._in_callback.has_me():
            return False
        me = self._in_callback.ident()
        drainer = self._drainer
        return (
            drainer is None
            or self._drainer_ident == me
            or self._drainer_polls
            or not drainer.is_alive()
        )


def _next_of(events: deque[Event]) -> Event | None:
    while events:
        try:
            event = events.popleft()
        except IndexError:
            return None  # another thread was first
        if event[0].incarnation == event[1]:
            return event
    return None
