"""The memory that a body is received into, piece by piece (specification 4.2.6.2).

It grows with what comes, to no more than twice of that whatever a header
announces, and becomes the body without a copy: a large message takes its own
size and little more.
"""

from __future__ import annotations

from io import BytesIO

__all__ = ('BodyBuffer',)


class BodyBuffer:
    """A body of *size* octets in the making.

    Not thread-safe: it belongs to the thread that reads the connection.
    """

    __slots__ = ('_memory', '_room', 'received', 'size')

    def __init__(self, size: int) -> None:
        self.size = size
        #: Octets of it that have come.
        self.received = 0
        self._memory = BytesIO()
        self._room: memoryview | None = None

    def room(self, count: int) -> memoryview:
        """Where the next *count* octets belong; hand it to `add` once they are there."""
        # BytesIO grows its one bytes object in place, and gives it away when
        # it is just full; a bytearray could only be copied to bytes.
        end = self.received + count
        # Once half of it is there the rest is taken in one: growing step by
        # step it would set more aside than it needs.
        self._memory.seek(max(end, self.size if 2 * end >= self.size else 0) - 1)
        self._memory.write(b'\x00')
        with self._memory.getbuffer() as memory:
            self._room = memory[self.received : end]
        return self._room

    def add(self, piece: bytes | memoryview) -> None:
        """The next octets: a copy is made of any but those in `room`."""
        count = len(piece)
        if piece is self._room:
            self._room.release()
            self._room = None
        else:
            self._memory.seek(self.received)
            self._memory.write(piece)
        self.received += count

    def is_whole(self) -> bool:
        """Whether all of it is there."""
        return self.received == self.size

    def body(self) -> bytes:
        """The body, whole."""
        return self._memory.getvalue()
