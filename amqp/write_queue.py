"""Writes that threads leave to the one that is writing.

A thread that finds the stream taken, and waits for nothing behind its write, need not
wait for its turn: what it leaves here goes out by the thread that is writing, together
with what others have left. Where threads share a connection, handing the stream from one
to the next is most of what sharing costs ("flat combining": Hendler and others, 2010).
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .scalars import Buffer

__all__ = ('Write', 'WriteQueue')

#: Writes that are left at most at a time, and octets of one.
MOST = 64
LARGEST = 16 * 1024


class Write:
    """Octets that belong together, and how many frames they are."""

    __slots__ = ('frames', 'octets')

    def __init__(self, octets: bytes, frames: int) -> None:
        self.octets = octets
        self.frames = frames


class WriteQueue(deque[Write]):
    """The writes left, in the order they came in. Thread-safe."""

    #: Whether anything may be left: a thread may have sent others' writes for long enough.
    is_open = True

    def leave(self, parts: Sequence[Buffer], frames: int) -> bool:
        """Leave a write, if it is a small one and there is room."""
        if not self.is_open or len(self) >= MOST or sum(map(len, parts)) > LARGEST:
            return False
        self.append(Write(b''.join(parts), frames))
        return True

    def take(self) -> list[Write]:
        """The writes that have been left, off the queue."""
        taken: list[Write] = []
        while self and len(taken) < MOST:
            taken.append(self.popleft())
        return taken
