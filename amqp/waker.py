"""Waking the thread that waits for a socket, from another thread."""

from __future__ import annotations

from contextlib import suppress

__all__ = ('Waker', 'Woken')


class Woken(Exception):
    """A wait has ended because of `Waker.wake`; no application ever sees it."""


class Waker:
    """Something to poll beside a socket: readable from `wake` on, until `clear`.

    Any thread may wake, and so may a finalizer: no lock is taken.
    """

    __slots__ = ('_reader', '_writer')

    def __init__(self) -> None:
        from socket import socketpair  # slow to import, and not needed before

        # A pair of sockets, for Windows polls nothing else.
        self._reader, self._writer = socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """The number to poll by."""
        return self._reader.fileno()

    def wake(self) -> None:
        """End the wait of the thread that polls, or the next one."""
        # It is full of calls that nobody has heeded yet, or has been closed.
        with suppress(OSError):
            self._writer.send(b'\0')

    def clear(self) -> None:
        """It has been heeded."""
        with suppress(BlockingIOError):
            while len(self._reader.recv(4096)) == 4096:
                pass

    def close(self) -> None:
        """Free its sockets. No thread may be polling it."""
        self._reader.close()
        self._writer.close()
