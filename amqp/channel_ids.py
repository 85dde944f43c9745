"""Allocation of channel ids, at a constant cost for each."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ('ChannelIds',)


class ChannelIds:
    """The ids 1 to *channel_max*, handed out one by one and taken back.

    Fresh ids come first, then those released longest ago: an id rests for as
    long as possible before it names another channel. Not thread-safe.
    """

    __slots__ = ('_next_fresh', '_released', '_resting', '_used', 'channel_max')

    def __init__(self, channel_max: int) -> None:
        self.channel_max = channel_max
        self._next_fresh = 1
        # Those that were in use once and are free, oldest first.
        self._released: OrderedDict[int, None] = OrderedDict()
        self._used: set[int] = set()
        self._resting: set[int] = set()

    def __contains__(self, channel_id: object) -> bool:
        return channel_id in self._used

    def __len__(self) -> int:
        return len(self._used)

    def allocate(self) -> int:
        """A free id. Raises LookupError when all are in use."""
        while self._next_fresh <= self.channel_max:
            channel_id = self._next_fresh
            self._next_fresh += 1
            if channel_id not in self._used and channel_id not in self._released:
                self._used.add(channel_id)
                return channel_id
        if self._released:
            channel_id, _ = self._released.popitem(last=False)
            self._used.add(channel_id)
            return channel_id
        raise LookupError(f'all {self.channel_max} channel ids are in use')

    def claim(self, channel_id: int) -> None:
        """Take this very id.

        Raises ValueError for an id that is in use or out of range.
        """
        if not 1 <= channel_id <= self.channel_max:
            raise ValueError(f'channel id {channel_id!r} is not within 1..{self.channel_max}')
        if channel_id in self._used:
            raise ValueError(f'channel id {channel_id} is in use')
        self._released.pop(channel_id, None)
        self._used.add(channel_id)

    def release(self, channel_id: int) -> None:
        """Give an id back; one that is not in use is left alone."""
        if channel_id in self._used:
            self._used.remove(channel_id)
            self._resting.discard(channel_id)
            self._released[channel_id] = None

    def rest(self, channel_id: int) -> None:
        """Keep an id out of use until `release`: its close has not been answered."""
        self._resting.add(channel_id)

    def is_resting(self, channel_id: int) -> bool:
        """Whether the close of the id's last channel has not been answered."""
        return channel_id in self._resting
