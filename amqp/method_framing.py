"""From frames to methods with their content, and back (specification 2.3.5, 4.2).

`frame_handler` and `frame_writer` make, for one connection, what takes frames in
and what sends them. A connection accepts other makers in their place, by
arguments of the same names.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from struct import Struct

from .abstract_transport import _AbstractTransport
from .basic_message import Message
from .body_buffer import BodyBuffer
from .clock import monotonic
from .deadline import Deadline
from .exceptions import EncodeError, FrameError, FrameSyntaxError, UnexpectedFrame
from .outgoing import encode_publish, encode_settlement
from .read_buffer import DIRECT_SIZE, Payload
from .replies import PendingReplies, Reply
from .spec import (
    FRAME_BODY,
    FRAME_END,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    FRAME_OVERHEAD,
    METHODS,
    Basic,
)
from .utils import fork_generation

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

    InboundMethod = Callable[[int, tuple[int, int], bytes, 'Message | None'], Any]

__all__ = ('frame_handler', 'frame_writer')

#: Methods of the peer that carry content.
CONTENT_METHODS = frozenset((Basic.Return, Basic.Deliver, Basic.GetOk))

MethodSig = tuple[int, int]
FrameHandler = Callable[[tuple[int, int, Payload]], bool]
FrameWriter = Callable[..., None]

#: Header, payload and end of each frame of the long way.
FRAME_PARTS = 3

_END = bytes([FRAME_END])
_method_id = Struct('>HH')
_content_header = Struct('>HHQ')
_frame_header = Struct('>BHI')
_method_frame_header = Struct('>BHIHH')
_header_frame_header = Struct('>BHIHHQ')


def frame_handler(
    connection: Any,
    callback: InboundMethod,
    content_methods: frozenset[MethodSig] = CONTENT_METHODS,
) -> FrameHandler:
    """Make what takes the frames of *connection* in.

    It is called with (type, channel, payload) and is true when that frame
    completed a method, which it has then handed to
    ``callback(channel, method_sig, payload, content)``: *payload* is that of
    the method frame, *content* a `Message` or None.

    It raises `UnexpectedFrame`, `FrameError` or `FrameSyntaxError` where the
    peer breaks the grammar of content. One thread at a time.
    """
    return Inbound(connection, callback, content_methods).on_frame


class Inbound:
    """The content that each channel of a connection is in the middle of."""

    def __init__(
        self, connection: Any, callback: InboundMethod, content_methods: frozenset[MethodSig]
    ) -> None:
        self._connection = connection
        self.callback = callback
        self._content_methods = content_methods
        #: Messages by channel whose header or body is yet to come.
        self.awaited: dict[int, Message] = {}
        #: The memory for large ones, to be received into.
        self.bodies: dict[int, BodyBuffer] = {}

    def on_frame(self, frame: tuple[int, int, Payload]) -> bool:
        """Take a frame in; whether it completed a method."""
        frame_type, channel, payload = frame
        if frame_type == FRAME_METHOD:
            return self._on_method(channel, payload)
        if frame_type == FRAME_HEADER:
            return self._on_header(channel, payload)
        if frame_type == FRAME_BODY:
            return self._on_body(channel, payload)
        if channel:
            raise FrameError(f'heartbeat on channel {channel}')
        return False

    def _on_method(self, channel: int, payload: Any) -> bool:
        if len(payload) < 4:
            raise FrameSyntaxError(f'method frame of {len(payload)} octets on channel {channel}')
        method_sig = _method_id.unpack_from(payload)
        if channel in self.awaited:
            raise _broken_content(channel, self.awaited[channel], f'method {method_sig}')
        if method_sig not in self._content_methods:
            self.callback(channel, method_sig, payload, None)
            return True
        if channel == 0:
            raise UnexpectedFrame(f'content on channel 0 (method {method_sig})')
        if channel not in self._connection.channels:
            # Before memory is taken for what nobody will get.
            self._connection._check_stray(channel, method_sig)
        self.awaited[channel] = Message(frame_method=method_sig, frame_args=payload)
        return False

    def _on_header(self, channel: int, payload: Any) -> bool:
        message = self.awaited.get(channel)
        if message is None or message.header_received:
            raise UnexpectedFrame(f'content header without a method on channel {channel}')
        if len(payload) < 14:
            raise FrameSyntaxError(f'content header of {len(payload)} octets on channel {channel}')
        class_id, _weight, body_size = _content_header.unpack_from(payload)
        assert message.frame_method is not None
        if class_id != message.frame_method[0]:
            raise FrameSyntaxError(
                f'content of class {class_id} follows method {message.frame_method} '
                f'on channel {channel}'
            )
        limit = self._connection.max_message_size
        if limit and body_size > limit:
            raise FrameError(
                f'message of {body_size} octets on channel {channel}: max_message_size is {limit}'
            )
        message.inbound_header(payload)
        if body_size >= DIRECT_SIZE:
            self.bodies[channel] = message.body_buffer()
        return self._complete(channel, message)

    def _on_body(self, channel: int, payload: Payload) -> bool:
        message = self.awaited.get(channel)
        if message is None or not message.header_received:
            raise UnexpectedFrame(f'content body without a header on channel {channel}')
        if message.body_received + len(payload) > message.body_size:
            raise FrameError(
                f'content body of {message.body_received + len(payload)} octets on channel '
                f'{channel}: its header announced {message.body_size}'
            )
        message.inbound_body(payload)
        return self._complete(channel, message)

    def _complete(self, channel: int, message: Message) -> bool:
        if not message.ready:
            return False
        del self.awaited[channel]
        self.bodies.pop(channel, None)
        assert message.frame_method is not None
        assert message.frame_args is not None
        self.callback(channel, message.frame_method, message.frame_args, message)
        return True


def _broken_content(channel: int, message: Message, found: str) -> UnexpectedFrame:
    missing = message.body_size - message.body_received
    what = f'{missing} octets of a body' if message.header_received else 'a content header'
    return UnexpectedFrame(f'{found} on channel {channel}, where {what} should come')


def frame_writer(connection: Any, transport: _AbstractTransport) -> FrameWriter:
    """Make what sends a method, with its content, as one write on *transport*."""
    return Outbound(connection, transport).write_frame


class Outbound:
    """Writes the frames of *connection*. Thread-safe."""

    __slots__ = (
        '_connection',
        '_fork_generation',
        '_stream',
        '_transport',
        'frame_max',
        'is_open',
        'next_look',
    )

    def __init__(self, connection: Any, transport: Any) -> None:
        self._connection = connection
        self._transport = transport
        # For the short ways; None where somebody has brought a transport of his own.
        self._stream = transport if isinstance(transport, _AbstractTransport) else None
        self._fork_generation = fork_generation()
        #: Whether messages may go a short way, and their largest frame.
        self.is_open = False
        self.frame_max = 0
        #: Until when a publish may go out without a look at what the broker
        #: has said, in monotonic seconds.
        self.next_look = 0.0

    def write_frame(
        self,
        frame_type: int,
        channel: int,
        method_sig: MethodSig | None,
        args: bytes | None,
        content: Any,
        timeout: float | None = None,
    ) -> None:
        """Send a method frame and what belongs to it, or a heartbeat.

        :param args: the method's arguments, encoded.
        :param content: a `Message`, or None.
        :param timeout: seconds; see ``write_all`` of the transport, whose
            errors it raises, `EncodeError` besides for what cannot be sent.
            Nothing has been sent then. Thread-safe.
        """
        if frame_type == FRAME_HEARTBEAT:
            parts: list[Any] = [_frame_header.pack(FRAME_HEARTBEAT, 0, 0), b'', _END]
        else:
            assert method_sig is not None
            frame_max = self._connection.frame_max
            parts = _method_parts(channel, method_sig, args or b'', frame_max)
            if content is not None:
                parts += _content_parts(channel, method_sig[0], content, frame_max)
        deadline = None if timeout is None else Deadline(timeout, time.monotonic())
        if self._stream is None:
            self._transport.write_all(parts, deadline)
        else:
            self._stream.write_all(parts, deadline, len(parts) // FRAME_PARTS)

    def may_send(self) -> bool:
        """Whether there are short ways at present; not in a forked child."""
        return self.is_open and self._fork_generation == fork_generation()

    def publish(
        self,
        channel_id: int,
        message: Message,
        exchange: Any,
        routing_key: Any,
        flags: int,
        may_leave: bool,
    ) -> bool:
        """Send basic.publish, if nothing is to be looked at before. False: nothing was sent.

        :param may_leave: see `_AbstractTransport.write_gathered`.
        """
        stream = self._stream
        if stream is None or stream.holds_data() or monotonic() >= self.next_look:
            return False
        parts = encode_publish(channel_id, message, exchange, routing_key, flags, self.frame_max)
        if parts is None:
            return False
        body = message._body
        is_empty = not body and (type(body) is bytes or type(body) is str)
        self._write(stream, parts, 2 if is_empty else 3, may_leave)
        return True

    def settle(self, channel_id: int, method_sig: MethodSig, delivery_tag: Any, flags: int) -> bool:
        """Send basic.ack, nack or reject. False: nothing was sent."""
        stream = self._stream
        if stream is None:
            return False
        frame = encode_settlement(channel_id, method_sig, delivery_tag, flags)
        if frame is None:
            return False
        self._write(stream, [frame], 1, False)
        return True

    def request(
        self,
        channel_id: int,
        method_sig: MethodSig,
        args: bytes,
        replies: PendingReplies,
        reply: Reply,
    ) -> bool:
        """Send a method, with the place for its *reply* kept before. False: nothing was sent."""
        stream = self._stream
        size = 4 + len(args)
        if stream is None or 0 < self.frame_max < size + FRAME_OVERHEAD:
            return False
        frame = _method_frame_header.pack(FRAME_METHOD, channel_id, size, *method_sig) + args + _END
        sent = False
        try:
            replies.add(reply)
            self._write(stream, [frame], 1, False)
            sent = True
        finally:
            if not sent:
                replies.forget(reply)
        return True

    def octets_given(self) -> int:
        """How many the transport has been given: sent, or put off by a batch."""
        stream = self._stream
        return 0 if stream is None else stream.octets_given()

    def interrupted(self, exc: BaseException, before: int) -> None:
        """Something was raised while a short way was gone.

        :param before: what `octets_given` was: if it has changed, the connection is over.
        """
        self._connection._interrupted(exc, before)

    def _write(
        self, stream: _AbstractTransport, parts: list[Any], frames: int, may_leave: bool
    ) -> None:
        before = self.octets_given()
        try:
            stream.write_gathered(parts, frames, may_leave)
        except BaseException as exc:  # noqa: BLE001 - none is swallowed
            self.interrupted(exc, before)
            raise self._connection._write_error(stream, exc)  # noqa: B904 - it is or has the cause


def _method_parts(
    channel: int, method_sig: MethodSig, args: bytes, frame_max: int
) -> list[bytes | memoryview]:
    size = 4 + len(args)
    if frame_max and size + FRAME_OVERHEAD > frame_max:
        name = METHODS[method_sig].name if method_sig in METHODS else str(method_sig)
        raise EncodeError(
            f'{name}: its arguments take {len(args)} octets, which frame_max {frame_max} is too '
            'small for'
        )
    return [_method_frame_header.pack(FRAME_METHOD, channel, size, *method_sig), args, _END]


def _content_parts(
    channel: int, class_id: int, content: Any, frame_max: int
) -> list[bytes | memoryview]:
    """Header and body frames; the body is cut up by views and not copied."""
    body = content.encoded_body()
    properties = content._serialize_properties()
    size = 12 + len(properties)
    if frame_max and size + FRAME_OVERHEAD > frame_max:
        # A header can't be split over frames (specification 4.2.6.1).
        raise EncodeError(
            f"the message's properties take {len(properties)} octets, which frame_max "
            f'{frame_max} is too small for'
        )
    length = len(body)
    parts = [
        _header_frame_header.pack(FRAME_HEADER, channel, size, class_id, 0, length),
        properties,
        _END,
    ]
    step = frame_max - FRAME_OVERHEAD if frame_max else max(length, 1)
    view = memoryview(body) if length > step else body
    for start in range(0, length, step):
        piece = view[start : start + step] if length > step else body
        parts += (_frame_header.pack(FRAME_BODY, channel, len(piece)), piece, _END)
    return parts
