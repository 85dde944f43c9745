"""The consumers of one channel, as a delivery needs them."""

from __future__ import annotations

from typing import Any

__all__ = ('Consumers',)


class Consumers:
    __slots__ = ('auto_decode', 'callbacks', 'channel')

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.callbacks = channel.callbacks
        self.auto_decode = channel.auto_decode
