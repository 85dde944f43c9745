"""The channels of a connection by number, and the numbers that are free."""

from __future__ import annotations

import threading

from . import spec
from .channel_ids import ChannelIds
from .exceptions import ConnectionError, ResourceError

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('ChannelRegistry',)


class ChannelRegistry:
    """Which channel has which number. Thread-safe.

    :param channel_max: the highest number.
    """

    __slots__ = ('_crossed', '_lock', 'channels', 'ids')

    def __init__(self, channel_max: int) -> None:
        #: By number; 0 is the connection.
        self.channels: dict[int, Any] = {}
        self.ids = ChannelIds(channel_max)
        self._crossed: set[int] = set()
        self._lock = threading.Lock()

    def renew_lock(self) -> None:
        """In a forked child: a thread that isn't there may hold it."""
        self._lock = threading.Lock()

    def allocate(self) -> int:
        """A free number; `ResourceError` if there is none."""
        with self._lock:
            try:
                return self.ids.allocate()
            except LookupError as exc:
                raise ResourceError(str(exc), spec.Channel.Open) from exc

    def claim(self, channel_id: int) -> None:
        """Take this very number; `ConnectionError` if it isn't to be had."""
        with self._lock:
            try:
                self.ids.claim(channel_id)
            except (ValueError, TypeError) as exc:
                raise ConnectionError(str(exc), spec.Channel.Open) from exc

    def forget(self, channel: Any, reuse_id: bool) -> None:
        """Take a channel out; its number rests until the broker has let go of it."""
        channel_id: int = channel.channel_id
        with self._lock:
            if self.channels.get(channel_id) is not channel:
                return
            del self.channels[channel_id]
            if reuse_id:
                self.ids.release(channel_id)
            else:
                self.ids.rest(channel_id)

    def move(self, channel: Any, channel_id: int) -> None:
        """Give a channel another number; its old one rests."""
        self.forget(channel, reuse_id=False)
        with self._lock:
            channel.channel_id = channel_id
            channel._inbox.channel_id = channel._outbox.channel_id = channel_id
            self.channels[channel_id] = channel

    def is_resting(self, channel_id: int) -> bool:
        """Whether the broker is yet to answer the close of this number's last channel."""
        with self._lock:
            return self.ids.is_resting(channel_id)

    def release(self, channel_id: int) -> None:
        """The broker has let go of a number."""
        with self._lock:
            self.ids.release(channel_id)

    def note_crossing(self, channel_id: int) -> None:
        """Both sides have closed a number's channel: a close-ok for ours may come, or none.

        RabbitMQ answers a close of ours that it reads after it sent its own,
        but not one that its channel, ended by an error, has left unread.
        """
        with self._lock:
            self._crossed.add(channel_id)

    def settle_crossing(self, channel_id: int) -> bool:
        """The next method has come on a number; whether a close-ok is no surprise.

        It can't come later: the broker sends it before it reads our close-ok,
        and so before it opens the next channel of that number.
        """
        with self._lock:
            crossed = channel_id in self._crossed
            self._crossed.discard(channel_id)
            return crossed

    def clear(self) -> None:
        """Forget all channels: the connection is lost."""
        with self._lock:
            self.channels.clear()
