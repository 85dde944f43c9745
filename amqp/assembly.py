"""A delivery, where all its frames lie in the read buffer already.

Most messages are small and come many at a time: this takes the frames of one
in a single step. What it doesn't take, because it isn't there whole or is in
any way out of order, is left for `amqp.method_framing` to go through frame by
frame; that is where errors are told.

The compiled build has this module in C: ``assembly.pyx``.
"""

from __future__ import annotations

from struct import Struct

from .basic_message import Message
from .exceptions import FrameSyntaxError
from .read_buffer import ReadBuffer
from .spec import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_METHOD, FRAME_OVERHEAD, Basic
from .tables import loads, take_properties

__all__ = ('take_delivery',)

#: The frame of basic.deliver up to the length of its first argument.
_method = Struct('>BHIHHB')
#: The frame of a content header up to the property flags.
_header = Struct('>BHIHHQH')
_body = Struct('>BHI')

#: Where the payload of a frame begins, and in it the arguments, the properties.
PAYLOAD = 7
ARGUMENTS = 4
PROPERTIES = 12
#: What lies between the consumer tag of basic.deliver and its exchange.
DELIVERY_TAG_AND_REDELIVERED = 9

_tags: dict[bytes, str | bytes] = {}
MAX_TAGS = 1024


def take_delivery(buffer: ReadBuffer, max_message_size: int) -> Message | None:
    """The delivery that *buffer* begins with; None if there is none in due form.

    :param max_message_size: the largest body to take, in octets.

    Its channel and consumer are the buffer's ``channel_id`` and
    ``consumer_tag`` then.
    """
    data, start, available = buffer.data, buffer.start, buffer.end
    if available - start < _method.size + _header.size:
        return None
    kind, channel_id, size, class_id, method_id, tag_size = _method.unpack_from(data, start)
    header = start + size + FRAME_OVERHEAD
    if (
        kind != FRAME_METHOD
        or channel_id == 0
        or buffer.awaited is not None
        or (class_id, method_id) != Basic.Deliver
        or header + _header.size >= available
    ):
        return None
    kind, header_channel, header_size, class_id, weight, body_size, flags = _header.unpack_from(
        data, header
    )
    body = header + header_size + FRAME_OVERHEAD
    end = body + body_size + FRAME_OVERHEAD if body_size else body
    if (
        kind != FRAME_HEADER
        or (class_id, weight) != (Basic.CLASS_ID, 0)
        or header_channel != channel_id
        or header_size < PROPERTIES + 2
        or end > available
        or body_size > max_message_size
        or max(size, header_size, body_size) + FRAME_OVERHEAD > buffer.frame_max
        or not data[header - 1] == data[body - 1] == data[end - 1] == FRAME_END
        or (body_size and _body.unpack_from(data, body) != (FRAME_BODY, channel_id, body_size))
    ):
        return None
    args = bytes(data[start + PAYLOAD : header - 1])
    try:
        exchange = ARGUMENTS + 1 + tag_size + DELIVERY_TAG_AND_REDELIVERED
        routing_key = exchange + 1 + args[exchange]
        if routing_key + 1 + args[routing_key] != size:
            return None
        octets = bytes(data[header + PAYLOAD + PROPERTIES : body - 1]) if flags else None
        properties = take_properties(octets, 0) if octets else None
    except (IndexError, FrameSyntaxError):
        return None
    message = Message.__new__(Message)
    message.frame_method = Basic.Deliver
    message.frame_args = args
    message._properties = properties
    message._octets = None if properties is not None else octets
    message._body_buffer = None
    message.body_size = message.body_received = body_size
    message.header_received = True
    message._body = bytes(data[body + PAYLOAD : end - 1]) if body_size else b''
    message._is_text = False
    message._delivery_info = None
    message._is_delivered = True
    message.channel = None
    buffer.channel_id = channel_id
    buffer.consumer_tag = _consumer_tag(args[ARGUMENTS : ARGUMENTS + 1 + tag_size])
    buffer.hand_out(end, 3 if body_size else 2)
    return message


def _consumer_tag(octets: bytes) -> str | bytes:
    """The text of a short string that comes with every message."""
    tag = _tags.get(octets)
    if tag is None:
        tag = loads('s', octets, 0)[0][0]
        if len(_tags) < MAX_TAGS:
            _tags[octets] = tag
    return tag
