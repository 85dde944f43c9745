"""A method, with its content, where all its frames lie in the read buffer already.

Most messages are small and come many at a time: this takes the frames of one
in a single step, as it does with a method that has no content. What it doesn't
take, because it isn't there whole or is in any way out of order, is left for
`amqp.method_framing` to go through frame by frame; that is where errors are
told.

The compiled build has this module in C: ``assembly.pyx``.
"""

from __future__ import annotations

from struct import Struct

from .basic_message import Message
from .exceptions import FrameSyntaxError
from .read_buffer import ReadBuffer
from .spec import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_METHOD, FRAME_OVERHEAD, Basic
from .tables import loads, take_properties

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('next_method', 'take_arguments', 'take_message')

#: The frame of a method up to its arguments.
_method = Struct('>BHIHH')
#: The frame of a content header up to the property flags.
_header = Struct('>BHIHHQH')
_body = Struct('>BHI')

#: Where the payload of a frame begins, and in it the arguments, the properties.
PAYLOAD = 7
ARGUMENTS = 4
PROPERTIES = 12
#: What lies before the exchange, in basic.deliver behind the consumer tag; and
#: in basic.get-ok behind the routing key.
DELIVERY_TAG_AND_REDELIVERED = 9
MESSAGE_COUNT = 4

_tags: dict[bytes, str | bytes] = {}
MAX_TAGS = 1024


def next_method(buffer: ReadBuffer) -> int:
    """The ids of the method that *buffer* begins with, the class's in the upper 16 bits.

    0 where no frame of a method is there whole and in due form, but for those
    of the connection. Its channel is the buffer's ``channel_id`` then.
    """
    data, start = buffer.data, buffer.start
    if buffer.end - start < _method.size + 1 or buffer.awaited is not None:
        return 0
    kind, channel_id, size, class_id, method_id = _method.unpack_from(data, start)
    end = start + PAYLOAD + size
    if (
        kind != FRAME_METHOD
        or channel_id == 0
        or size < ARGUMENTS
        or end >= buffer.end
        or size + FRAME_OVERHEAD > buffer.frame_max
        or data[end] != FRAME_END
    ):
        return 0
    buffer.channel_id = channel_id
    return int(class_id << 16 | method_id)


def take_arguments(buffer: ReadBuffer, format: str) -> tuple[Any, ...] | None:
    """The arguments of the method that `next_method` has told of; None if not in due form."""
    size = _method.unpack_from(buffer.data, buffer.start)[2]
    begin = buffer.start + PAYLOAD
    try:
        args, end = loads(format, bytes(buffer.data[begin : begin + size]), ARGUMENTS)
    except FrameSyntaxError:
        return None
    if end != size:
        return None
    buffer.hand_out(begin + size + 1, 1)
    return tuple(args)


def take_message(buffer: ReadBuffer, max_message_size: int) -> Message | None:
    """The delivery or the basic.get-ok that *buffer* begins with; None if none in due form.

    :param max_message_size: the largest body to take, in octets.

    Its channel is the buffer's ``channel_id`` then, and a delivery's consumer
    its ``consumer_tag``.
    """
    data, start, available = buffer.data, buffer.start, buffer.end
    if available - start < _method.size + _header.size:
        return None
    kind, channel_id, size, *method = _method.unpack_from(data, start)
    header = start + size + FRAME_OVERHEAD
    if (
        kind != FRAME_METHOD
        or channel_id == 0
        or buffer.awaited is not None
        or tuple(method) not in (Basic.Deliver, Basic.GetOk)
        or header + _header.size >= available
    ):
        return None
    is_delivery = method[1] == Basic.Deliver[1]
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
        if not _are_sound(args, is_delivery):
            return None
        octets = bytes(data[header + PAYLOAD + PROPERTIES : body - 1]) if flags else None
        properties = take_properties(octets, 0) if octets else None
    except (IndexError, FrameSyntaxError):
        return None
    message = Message.__new__(Message)
    message.frame_method = Basic.Deliver if is_delivery else Basic.GetOk
    message.frame_args = args
    message._properties = properties
    message._octets = None if properties is not None else octets
    message._body_buffer = None
    message.body_size = message.body_received = body_size
    message.header_received = True
    message._body = bytes(data[body + PAYLOAD : end - 1]) if body_size else b''
    message._is_text = False
    message._delivery_info = None
    message._is_delivered = is_delivery
    message.channel = None
    buffer.channel_id = channel_id
    if is_delivery:
        buffer.consumer_tag = _consumer_tag(args[ARGUMENTS : ARGUMENTS + 1 + args[ARGUMENTS]])
    buffer.messages_read += 1
    buffer.hand_out(end, 3 if body_size else 2)
    return message


def _are_sound(args: bytes, is_delivery: bool) -> bool:
    """Whether these are the arguments of such a method, to the octet, with its ids before them."""
    at = ARGUMENTS
    if is_delivery:
        at += 1 + args[at]
    at += DELIVERY_TAG_AND_REDELIVERED
    at += 1 + args[at]
    at += 1 + args[at]
    return at + (0 if is_delivery else MESSAGE_COUNT) == len(args)


def _consumer_tag(octets: bytes) -> str | bytes:
    """The text of a short string that comes with every message."""
    tag = _tags.get(octets)
    if tag is None:
        tag = loads('s', octets, 0)[0][0]
        if len(_tags) < MAX_TAGS:
            _tags[octets] = tag
    return tag
