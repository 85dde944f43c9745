"""Results that are named tuples, so that they unpack as well as read."""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any


class queue_declare_ok_t(  # noqa: N801 (the name users import)
    namedtuple('queue_declare_ok_t', 'queue message_count consumer_count')
):
    """What `Channel.queue_declare` returns; counts are those at the time of the reply."""

    __slots__ = ()

    queue: str
    message_count: int
    consumer_count: int


class basic_return_t(  # noqa: N801
    namedtuple('basic_return_t', 'reply_code reply_text exchange routing_key message')
):
    """A message the broker handed back: why, where it was meant to go, and the message."""

    __slots__ = ()

    reply_code: int
    reply_text: str
    exchange: str
    routing_key: str
    message: Any


class ConnectionStats(
    namedtuple(
        'ConnectionStats',
        'bytes_sent bytes_received frames_sent frames_received messages_published '
        'messages_received confirms_outstanding channels',
    )
):
    """What `Connection.stats` tells: counts since it was connected, and two of this moment.

    Messages received are those delivered, fetched and returned. What a batch
    puts off is among the frames and messages at once, and among the bytes when
    it is sent. Heartbeats are frames. ``confirms_outstanding`` messages and
    ``channels`` that are open are those of now.
    """

    __slots__ = ()

    bytes_sent: int
    bytes_received: int
    frames_sent: int
    frames_received: int
    messages_published: int
    messages_received: int
    confirms_outstanding: int
    channels: int
