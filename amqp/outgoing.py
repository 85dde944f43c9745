"""What is sent most, a message and its acknowledgement, as one run of octets each.

What doesn't fit the pattern (a body of several frames, a value that can't be
sent) is left for `amqp.method_framing` to go through step by step; that is
where errors are told.

The compiled build has this module in C: ``outgoing.pyx``.
"""

from __future__ import annotations

from struct import Struct, error

from .basic_message import Message
from .exceptions import EncodeError
from .spec import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_METHOD, FRAME_OVERHEAD, Basic
from .tables import dumps

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('encode_publish', 'encode_settlement')

#: Up to here a body is joined with what goes before it: one copy is cheaper
#: than the bookkeeping of scatter/gather.
JOIN_LIMIT = 32 * 1024

_method = Struct('>BHIHHH')
_header = Struct('>BHIHHQ')
_body = Struct('>BHI')
_settlement = Struct('>BHIHHQBB')
_END = bytes([FRAME_END])


def encode_publish(
    channel_id: int,
    message: Message,
    exchange: Any,
    routing_key: Any,
    flags: int,
    frame_max: int,
) -> list[Any] | None:
    """The frames of basic.publish, in one part or in three with the body between.

    :param flags: 1 mandatory, 2 immediate.
    :param frame_max: 0 is no limit.

    None: this takes a closer look.
    """
    try:
        body = message.encoded_body()
        names = dumps('ss', (exchange, routing_key))
        properties = message._serialize_properties()
    except EncodeError:
        return None
    size = len(body)
    if frame_max and max(size, len(properties) + 12) + FRAME_OVERHEAD > frame_max:
        return None
    head = b''.join(
        (
            _method.pack(FRAME_METHOD, channel_id, len(names) + 7, *Basic.Publish, 0),
            names,
            bytes((flags, FRAME_END)),
            _header.pack(FRAME_HEADER, channel_id, len(properties) + 12, Basic.CLASS_ID, 0, size),
            properties,
            _END,
        )
    )
    if not size:
        return [head]
    head += _body.pack(FRAME_BODY, channel_id, size)
    return [b''.join((head, body, _END))] if size <= JOIN_LIMIT else [head, body, _END]


def encode_settlement(
    channel_id: int, method_sig: tuple[int, int], delivery_tag: Any, flags: int
) -> bytes | None:
    """The frame of basic.ack, basic.nack or basic.reject.

    :param flags: their bits, the first of them in the lowest.

    None: this takes a closer look.
    """
    if not isinstance(delivery_tag, int):
        return None
    try:
        return _settlement.pack(
            FRAME_METHOD, channel_id, 13, *method_sig, delivery_tag, flags, FRAME_END
        )
    except error:
        return None
