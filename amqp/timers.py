"""What is to be called later: in the order of its time, then of the calls that asked for it.

The clock is passed in, so that the order is tested without waiting.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from math import inf

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('Timer', 'TimerQueue')

#: So many may be in a queue before those that were cancelled are looked for.
PURGE_SIZE = 64


class Timer:
    """What `Connection.call_later` returns: something that is to be called once."""

    __slots__ = ('_callback', '_number', 'due')

    def __init__(self, due: float, number: int, callback: Callable[[], Any]) -> None:
        #: When, in monotonic seconds.
        self.due = due
        self._number = number
        self._callback: Callable[[], Any] | None = callback

    def __lt__(self, other: Timer) -> bool:
        return (self.due, self._number) < (other.due, other._number)

    def __repr__(self) -> str:
        state = 'over' if self._callback is None else f'due at {self.due}'
        return f'<Timer {self._number} ({state})>'

    def cancel(self) -> None:
        """Have it not be called. Nothing happens where it has been, or is being. Thread-safe."""
        self._callback = None

    @property
    def is_pending(self) -> bool:
        """Whether it is yet to be called."""
        return self._callback is not None

    def _take(self) -> Callable[[], Any] | None:
        """What to call, this once."""
        callback, self._callback = self._callback, None
        return callback


class TimerQueue:
    """Timers that are pending.

    `add` and `is_earlier` may be called from any thread, and take no lock, for
    a finalizer may call. All else is for one thread at a time.
    """

    __slots__ = ('_added', '_first_due', '_heap', '_numbers', '_purge_at')

    def __init__(self) -> None:
        # Those that aren't in the heap yet.
        self._added: deque[Timer] = deque()
        self._heap: list[Timer] = []
        self._first_due = inf
        self._numbers = count(1)
        self._purge_at = PURGE_SIZE

    def add(self, due: float, callback: Callable[[], Any]) -> Timer:
        """Have *callback* called at *due*."""
        timer = Timer(due, next(self._numbers), callback)
        self._added.append(timer)
        return timer

    def is_earlier(self, at: float) -> bool:
        """Whether something may be due before *at*: `next_due` tells."""
        return bool(self._added) or self._first_due < at

    def next_due(self) -> float:
        """When the next one is due; infinity if there is none."""
        self._put_in_order()
        return self._first_due

    def pop_due(self, now: float) -> Callable[[], Any] | None:
        """What is to be called first of all that is due; None if nothing is."""
        callback = None
        while callback is None and self.next_due() <= now and self._heap:
            callback = heapq.heappop(self._heap)._take()
        self._put_in_order()
        return callback

    def _put_in_order(self) -> None:
        heap = self._heap
        while self._added:
            # Taken away last: meanwhile `is_earlier` is to see it here or there.
            timer = self._added[0]
            heapq.heappush(heap, timer)
            self._first_due = min(self._first_due, timer.due)
            self._added.popleft()
        if len(heap) >= self._purge_at:
            heap[:] = [timer for timer in heap if timer.is_pending]
            heapq.heapify(heap)
            self._purge_at = max(PURGE_SIZE, 2 * len(heap))
        while heap and not heap[0].is_pending:
            heapq.heappop(heap)
        self._first_due = heap[0].due if heap else inf
