"""A method with its content, where all its frames lie in the read buffer already.

Most messages are small and come many at a time: this takes the three frames
of one in a single step. What it doesn't take, because it isn't there whole or
is in any way out of order, is left for `amqp.method_framing` to go through
frame by frame; that is where errors are told.

The compiled build has this module in C (``assembly.pyx``).
"""

from __future__ import annotations

from struct import Struct

from .basic_message import Message
from .exceptions import FrameSyntaxError
from .read_buffer import ReadBuffer
from .serialization import take_properties
from .spec import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_METHOD, Basic

__all__ = ('take_delivery',)

# A method frame with the first argument's length; a header frame; a body frame.
_deliver = Struct('>BHIHHB')
_content = Struct('>BHIHHQH')
_body = Struct('>BHI')

_tags: dict[bytes, str | bytes] = {}


def take_delivery(buffer: ReadBuffer, max_size: int) -> Message | None:
    """The delivery that *buffer* begins with; None if there is none in due form.

    :param max_size: the largest body to take, in octets.

    What is not in the message stands in the buffer: ``channel_id`` and
    ``consumer_tag``.
    """
    data, start, available = buffer.data, buffer.start, buffer.end
    if available - start < 7 + 4 + 1:
        return None
    kind, channel, size, class_id, method_id, tag_size = _deliver.unpack_from(data, start)
    if (kind, class_id, method_id) != (FRAME_METHOD, 60, 60):
        return None
    header = start + size + 8
    if available - header < 7 + 14:
        return None
    kind, other, header_size, class_id, _, body_size, flags = _content.unpack_from(data, header)
    if kind != FRAME_HEADER or other != channel or class_id != 60: return None
    body = header + header_size + 8
    if body_size:
        if available - body < body_size + 8: return None
        kind, other, size_ = _body.unpack_from(data, body)
        if kind != FRAME_BODY or other != channel or size_ != body_size: return None
        end = body + body_size + 8
    else:
        end = body
    return None
