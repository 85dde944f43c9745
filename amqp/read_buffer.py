"""Cutting the byte stream into frames (specification 4.2.3).

The buffer knows no socket. It says where the next bytes belong (`space`), is
told how many came (``received``), and hands out the frames that are whole. It
keeps whatever it was given, so a read may stop at any byte and go on later.
"""

from __future__ import annotations

from struct import Struct

from .body_buffer import BodyBuffer
from .exceptions import FrameError
from .spec import (
    FRAME_BODY,
    FRAME_END,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    FRAME_OVERHEAD,
    PROTOCOL_HEADER,
)

__all__ = ('ReadBuffer',)

#: What one receive can take in: thousands of small messages, hundreds of 1 KiB.
CAPACITY = 256 * 1024
#: By how much it grows where a receive has filled it: large bodies, which it
#: gets in the way of, are met with before it is large.
GROWTH = 8
#: What a connection keeps that has nothing to read.
IDLE_CAPACITY = 4 * 1024
#: From here on a body frame is received straight into its body.
DIRECT_SIZE = 8 * 1024

HEADER_SIZE = 7
FRAME_TYPES = frozenset((FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT))

_header = Struct('>BHI')

Payload = bytes | memoryview


class ReadBuffer:
    """Bytes received and not handed out as frames yet.

    Its truth is whether it holds any. Not thread-safe: it belongs to the
    thread that reads the connection.

    :param frame_max: the largest frame accepted, its eight octets of overhead
        included; a larger one is refused before memory is taken for it.
        Assign to it once the connection is tuned.
    """

    __slots__ = (
        '_awaited_filled',
        '_awaited_header',
        '_body',
        '_full',
        'awaited',
        'bodies',
        'channel_id',
        'consumer_tag',
        'data',
        'end',
        'frame_max',
        'frames_read',
        'messages_read',
        'start',
    )

    def __init__(self, frame_max: int) -> None:
        self.frame_max = frame_max
        #: How many frames have been handed out.
        self.frames_read = 0
        #: How many of them were the header of a message.
        self.messages_read = 0
        #: Bodies in the making by channel, to receive what is to come into.
        self.bodies: dict[int, BodyBuffer] = {}
        #: What has been received and not handed out: ``data[start:end]``.
        self.data = bytearray(IDLE_CAPACITY)
        self.start = 0
        self.end = 0
        #: Which channel and consumer the last delivery was for.
        self.channel_id = 0
        self.consumer_tag: str | bytes = ''
        # Whether the last receive left no room.
        self._full = False
        #: The payload of a large frame that isn't whole, so that its octets are
        #: received straight into place: what is held begins with its end then.
        self.awaited: memoryview | None = None
        self._awaited_header = (0, 0)
        self._awaited_filled = 0
        # The body that it is a piece of.
        self._body: BodyBuffer | None = None

    def __bool__(self) -> bool:
        return self.end > self.start or self.awaited is not None

    def next_frame(self) -> tuple[int, int, Payload] | None:
        """The next whole frame as (type, channel, payload), if there is one.

        The payload of one that went into one of ``bodies`` is a room
        of that. Raises `FrameError` for what can be no frame.
        """
        if self.awaited is not None:
            return self._finish_awaited(self.awaited)
        data, start = self.data, self.start
        if self.end - start < HEADER_SIZE:
            return None
        frame_type, channel, size = _header.unpack_from(data, start)
        if frame_type not in FRAME_TYPES or size + FRAME_OVERHEAD > self.frame_max:
            raise self._header_error(frame_type, channel, size)
        start += HEADER_SIZE
        end = start + size
        if end >= self.end:
            self._await_rest(frame_type, channel, size)
            return None
        if data[end] != FRAME_END:
            raise _end_error(data[end], frame_type, channel)
        payload = bytes(memoryview(data)[start:end])
        if frame_type == FRAME_HEADER:
            self.messages_read += 1
        self.hand_out(end + 1, 1)
        return frame_type, channel, payload

    def hand_out(self, start: int, frames: int) -> None:
        """So many frames have been taken; the next one begins at *start*."""
        self.frames_read += frames
        if start == self.end:
            self.start = self.end = 0
        else:
            self.start = start

    def has_frame(self) -> bool:
        """Whether `next_frame` has something to say: a frame, or an error."""
        available = self.end - self.start
        if self.awaited is not None:
            return available > 0 and self._awaited_filled == len(self.awaited)
        if available < HEADER_SIZE:
            return False
        frame_type, _, size = _header.unpack_from(self.data, self.start)
        return (
            available >= size + FRAME_OVERHEAD
            or frame_type not in FRAME_TYPES
            or size + FRAME_OVERHEAD > self.frame_max
        )

    def space(self) -> memoryview:
        """Where the next bytes go, to be filled from its start. There must be no frame left."""
        awaited = self.awaited
        if awaited is not None and self._awaited_filled < len(awaited):
            return awaited[self._awaited_filled :]
        if self.start or self._full:
            self._move(min(GROWTH * len(self.data), CAPACITY) if self._full else len(self.data))
            if self.end == CAPACITY:  # with the beginning of a larger frame
                self._await_rest(*_header.unpack_from(self.data))
                return self.space()
        room = memoryview(self.data)
        if self.end:
            room = room[self.end :]
        # Of a body that goes on, just the next header: what follows that has
        # its place elsewhere.
        return room[: FRAME_OVERHEAD - self.end] if self._is_amid_body() else room

    def reads_ahead(self) -> bool:
        """Whether `space` takes more than the frame at hand."""
        awaited = self.awaited
        return awaited is None or (
            self._awaited_filled == len(awaited) and not self._is_amid_body()
        )

    def received(self, count: int) -> None:
        """So many bytes have been written into `space`."""
        awaited = self.awaited
        if awaited is not None and self._awaited_filled < len(awaited):
            self._awaited_filled += count
        else:
            self.end += count
            self._full = self.end == len(self.data)

    def is_large(self) -> bool:
        """Whether there is memory to give back by `shrink`."""
        return len(self.data) > IDLE_CAPACITY

    def shrink(self) -> None:
        """Give memory back, if nothing is held: it may be long until more comes."""
        if self.start == self.end and len(self.data) > IDLE_CAPACITY:
            self.data = bytearray(IDLE_CAPACITY)

    def _move(self, capacity: int) -> None:
        """Have what is held begin in front."""
        held = self.data[self.start : self.end]
        count = len(held)
        data = self.data if capacity == len(self.data) else bytearray(capacity)
        # No call from here on: what a signal handler raised would leave it half moved.
        data[:count] = held
        self.data, self.start, self.end, self._full = data, 0, count, False

    def _is_amid_body(self) -> bool:
        body = self._body
        return (
            body is not None
            and self.awaited is not None
            and body.received + len(self.awaited) < body.size
        )

    def _await_rest(self, frame_type: int, channel: int, size: int) -> None:
        """The frame at hand isn't whole: make room for it."""
        body = self.bodies.get(channel) if frame_type == FRAME_BODY else None
        if body is not None and (size < DIRECT_SIZE or body.received + size > body.size):
            body = None
        if body is not None:
            awaited = body.room(size)
        elif size + FRAME_OVERHEAD > CAPACITY:
            awaited = memoryview(bytearray(size))
        else:
            if size + FRAME_OVERHEAD > len(self.data):
                self._move(CAPACITY)
            return
        begun = self.data[self.start + HEADER_SIZE : self.end]
        filled = len(begun)
        awaited[:filled] = begun
        # As in `_move`: at once, or not at all.
        self._awaited_header, self._body = (frame_type, channel), body
        self.awaited, self._awaited_filled, self.start, self.end = awaited, filled, 0, 0
        if body is not None:
            # There may be more such: what is read ahead of them is copied.
            self._full = False
            self.shrink()

    def _finish_awaited(self, awaited: memoryview) -> tuple[int, int, Payload] | None:
        if self._awaited_filled < len(awaited) or self.start == self.end:
            return None
        frame_type, channel = self._awaited_header
        if self.data[self.start] != FRAME_END:
            raise _end_error(self.data[self.start], frame_type, channel)
        payload = awaited if self._body is not None else bytes(awaited)
        if frame_type == FRAME_HEADER:
            self.messages_read += 1
        # First: where a signal handler raises in between, the count tells of it.
        self.hand_out(self.start + 1, 1)
        self.awaited = self._body = None
        return frame_type, channel, payload

    def _header_error(self, frame_type: int, channel: int, size: int) -> FrameError:
        if frame_type == PROTOCOL_HEADER[0]:  # specification 4.2.2
            return FrameError("the peer doesn't speak AMQP 0-9-1: it answered with a header")
        if frame_type not in FRAME_TYPES:
            return FrameError(f'frame of unknown type {frame_type} on channel {channel}')
        return FrameError(
            f'frame of {size + FRAME_OVERHEAD} octets on channel {channel}: '
            f'frame_max is {self.frame_max}'
        )


def _end_error(octet: int, frame_type: int, channel: int) -> FrameError:
    return FrameError(
        f'frame of type {frame_type} on channel {channel} '
        f'ends in octet 0x{octet:02x}, not in 0x{FRAME_END:02x}'
    )
