"""Results that are named tuples, so that they unpack as well as read."""

from __future__ import annotations

from typing import Any, NamedTuple


class queue_declare_ok_t(NamedTuple):  # noqa: N801 (the name users import)
    """What `Channel.queue_declare` returns; counts are those at the time of the reply."""

    queue: str
    message_count: int
    consumer_count: int


class basic_return_t(NamedTuple):  # noqa: N801
    """A message the broker handed back: why, where it was meant to go, and the message."""

    reply_code: int
    reply_text: str
    exchange: str
    routing_key: str
    message: Any
