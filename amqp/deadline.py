"""One deadline across many steps.

A caller's ``timeout`` bounds the whole of an operation, however many frames,
system calls and heartbeats it takes. The clock is passed in, so that the
arithmetic is tested without waiting.
"""

from __future__ import annotations

from math import inf

__all__ = ('Deadline', 'checked_seconds')


class Deadline:
    """The moment at which an operation has to end.

    :param timeout: seconds from *now*, or None for no end. A negative number
        counts as zero: look once, don't wait.
    :param now: the present, from the clock that later calls are given too.
    """

    __slots__ = ('at', 'wakeable')

    def __init__(self, timeout: float | None, now: float) -> None:
        self.at: float = inf if timeout is None else now + max(timeout, 0.0)
        #: Whether another thread may end a wait for the peer before: see `Waker`.
        self.wakeable = False

    def remaining(self, now: float) -> float | None:
        """Seconds left, never negative; None when there is no end."""
        if self.at == inf:
            return None
        return max(self.at - now, 0.0)

    def expired(self, now: float) -> bool:
        """Whether the end has been reached."""
        return now >= self.at

    def no_later_than(self, at: float) -> Deadline:
        """This deadline, or the moment *at* where that comes first."""
        if at >= self.at:
            return self
        earlier = Deadline(None, 0.0)
        earlier.at = at
        earlier.wakeable = self.wakeable
        return earlier

    def __repr__(self) -> str:
        return f'<Deadline at {self.at}>'


def checked_seconds(name: str, seconds: float) -> float:
    """The argument *name*, or 0 if that is negative; a clear error for what is no number."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f'argument {name!r}: {seconds!r} is no number of seconds')
    if seconds != seconds:
        raise ValueError(f'argument {name!r}: {seconds!r} is no number of seconds')
    return max(seconds, 0)
