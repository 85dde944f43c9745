"""Small writes in quick succession, put together by the kernel.

A segment for each small message costs the kernel and the broker more than the message
itself does. Where messages are sent for long without a pause, and no thread waits for
what the peer has to say, the kernel may keep what it can't send at once until the peer has
acknowledged what is under way (Nagle's algorithm, RFC 896): for as long as the peer is
busy, that is. The peer may delay an acknowledgement (RFC 1122, 4.2.3.2), and with it the
last of those messages. So nothing is kept where somebody waits, or of a short burst.
"""

from __future__ import annotations

from _socket import TCP_NODELAY
from contextlib import suppress

from .platform import SOL_TCP

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('Coalescing',)

#: So many writes in so many seconds, again and again for so long, are a burst.
WRITES = 1024
WITHIN = 0.02
LASTING = 0.1
#: Seconds without a write after which nothing is kept, until that many have followed.
PAUSE = 0.001


class Coalescing:
    """Whether the kernel may do so on *sock*, which has TCP_NODELAY.

    One thread at a time writes, and one at a time waits.
    """

    __slots__ = ('_began', '_is_awaited', '_looked', '_writes_left', 'is_on', 'sock')

    def __init__(self) -> None:
        #: The socket; None where it is not to be done.
        self.sock: Any = None
        self.is_on = False
        self._is_awaited = False
        self._writes_left = WRITES
        # Until the next look. When was the last, and the first of a burst, in monotonic seconds.
        self._looked = 0.0
        self._began = 0.0

    def resume(self, pause: float) -> None:
        """A write is about to go out, so many seconds behind the last."""
        if pause > PAUSE:
            self.stop()

    def wrote(self, now: float) -> None:
        """A write has gone out, at that time."""
        self._writes_left -= 1
        if self._writes_left > 0:
            return
        self._writes_left = WRITES
        if now - self._looked > WITHIN:
            self.stop()
            self._began = now
        elif now - self._began > LASTING:
            self._start()
        self._looked = now

    def begin_wait(self) -> None:
        """A thread is about to wait for the peer, until `end_wait`."""
        self._is_awaited = True
        if self.is_on:
            self.stop()

    def end_wait(self) -> None:
        """It has waited: a burst begins anew."""
        self._looked = 0.0
        self._is_awaited = False

    def stop(self) -> None:
        """Have all go out at once that has been kept, and what follows."""
        if self.is_on:
            self._set_no_delay(1)
            self.is_on = False

    def _start(self) -> None:
        if not self.is_on and not self._is_awaited:
            self.is_on = True
            self._set_no_delay(0)
            self._stop_if_awaited()

    def _stop_if_awaited(self) -> None:
        """A thread may have begun to wait since, and have stopped it too early."""
        if self._is_awaited:
            self._set_no_delay(1)
            self.is_on = False

    def _set_no_delay(self, value: int) -> None:
        sock = self.sock
        if sock is not None:
            # Where another thread has closed it nothing is kept, and the next use tells.
            with suppress(OSError):
                sock.setsockopt(SOL_TCP, TCP_NODELAY, value)
