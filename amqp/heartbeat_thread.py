"""A thread that keeps heartbeats up while nobody waits for the connection.

It knows of no connection: it calls a method again and again, when that says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any
    from weakref import WeakMethod

__all__ = ('HeartbeatThread',)


class HeartbeatThread:
    """Calls *beat*, which returns the seconds until its next call, or None for the last.

    :param beat: a method. Its object is referred to weakly, and the thread
        ends when that is garbage.

    It is a daemon: it keeps no program from ending. In a forked child there is
    none, and `end` does nothing.
    """

    __slots__ = ('_thread', '_until_ended')

    def __init__(self, beat: Callable[[], float | None]) -> None:
        from weakref import WeakMethod  # with the first thread; see `amqp.utils`

        # Held until the thread is to end. An Event won't do: its own lock may be
        # held by the very thread that the garbage collector, or a signal
        # handler, interrupts in order to end this one.
        self._until_ended = threading.Lock()
        self._until_ended.acquire()
        self._thread = threading.Thread(
            target=_beat_until,
            args=(self._until_ended, WeakMethod(beat, lambda _: self.end())),
            name='amqp heartbeat',
            daemon=True,
        )

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def end(self) -> None:
        """Have the thread end, soon or right after its start. Never blocks, in whatever thread."""
        with suppress(RuntimeError):  # it has been told already
            self._until_ended.release()

    def join(self) -> None:
        """Wait until the thread has ended, unless it is this one or never started."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()


def _beat_until(ended: Any, method: WeakMethod[Callable[[], float | None]]) -> None:
    pause: float | None = 0.0
    while pause is not None and not ended.acquire(timeout=pause):
        beat = method()
        # No reference is left over while the thread rests.
        pause = None if beat is None else beat()
        del beat
