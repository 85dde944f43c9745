"""Cutting the byte stream into frames (specification 4.2.3).

The buffer knows no socket. It says where the next bytes belong (`space`), is
told how many came (`received`), and hands out the frames that are whole. It
keeps whatever it was given, so a read may stop at any byte and go on later.
"""

from __future__ import annotations

from struct import Struct

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

#: What one receive can take in: several hundred small messages.
CAPACITY = 64 * 1024

HEADER_SIZE = 7
FRAME_TYPES = frozenset((FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT))

_header = Struct('>BHI')


class ReadBuffer:
    """Bytes received and not handed out as frames yet.

    Its truth is whether it holds any. Not thread-safe: it belongs to the
    thread that reads the connection.

    :param frame_max: the largest frame accepted, its eight octets of overhead
        included; a larger one is refused before memory is taken for it.
        Assign to it once the connection is tuned.
    """

    __slots__ = (
        '_data',
        '_end',
        '_large',
        '_large_header',
        '_received',
        '_start',
        'frame_max',
        'frames_read',
    )

    def __init__(self, frame_max: int) -> None:
        self.frame_max = frame_max
        #: How many frames have been handed out.
        self.frames_read = 0
        self._data = bytearray(CAPACITY)
        self._start = 0
        self._end = 0
        # A frame that exceeds the buffer gets memory of its own, so that its
        # bytes are received straight into place.
        self._large: bytearray | None = None
        self._large_header = (0, 0)
        self._received = 0

    def __bool__(self) -> bool:
        return self._end > self._start or self._large is not None

    def next_frame(self) -> tuple[int, int, bytes] | None:
        """The next whole frame as (type, channel, payload), if there is one.

        Raises `FrameError` for what can be no frame.
        """
        if self._large is not None:
            return self._finish_large()
        start, available = self._start, self._end - self._start
        if available < HEADER_SIZE:
            return None
        frame_type, channel, size = _header.unpack_from(self._data, start)
        self._check_header(frame_type, channel, size)
        end = start + HEADER_SIZE + size
        if available < size + FRAME_OVERHEAD:
            if size + FRAME_OVERHEAD > CAPACITY:
                self._begin_large(frame_type, channel, size)
            return None
        self._check_end(self._data[end], frame_type, channel)
        payload = bytes(memoryview(self._data)[start + HEADER_SIZE : end])
        self.frames_read += 1
        self._start = end + 1
        if self._start == self._end:
            self._start = self._end = 0
        return frame_type, channel, payload

    def has_frame(self) -> bool:
        """Whether `next_frame` has something to say: a frame, or an error."""
        if self._large is not None:
            return self._received == len(self._large)
        available = self._end - self._start
        if available < HEADER_SIZE:
            return False
        frame_type, _, size = _header.unpack_from(self._data, self._start)
        return (
            available >= size + FRAME_OVERHEAD
            or frame_type not in FRAME_TYPES
            or size + FRAME_OVERHEAD > self.frame_max
        )

    def space(self, greedy: bool) -> memoryview:
        """Where the next bytes go, to be filled from its start.

        Ask for a frame first. *greedy* offers all the room there is;
        otherwise only what the frame at hand still lacks, so that the frames
        behind it stay with the kernel, where an event loop sees them.
        """
        if self._large is not None:
            return memoryview(self._large)[self._received :]
        missing = self._missing()
        if self._end + missing > CAPACITY or (greedy and self._start):
            self._move_to_front()
        end = CAPACITY if greedy else self._end + missing
        return memoryview(self._data)[self._end : end]

    def reads_ahead(self) -> bool:
        """Whether a greedy `space` has room for more than the frame at hand."""
        return self._large is None

    def received(self, count: int) -> None:
        """So many bytes have been written into `space`."""
        if self._large is not None:
            self._received += count
        else:
            self._end += count

    def _missing(self) -> int:
        available = self._end - self._start
        if available < HEADER_SIZE:
            return HEADER_SIZE - available
        size: int = _header.unpack_from(self._data, self._start)[2]
        return size + FRAME_OVERHEAD - available

    def _move_to_front(self) -> None:
        waiting = self._data[self._start : self._end]
        self._data[: len(waiting)] = waiting
        self._start, self._end = 0, len(waiting)

    def _begin_large(self, frame_type: int, channel: int, size: int) -> None:
        large = bytearray(size + 1)
        begun = self._data[self._start + HEADER_SIZE : self._end]
        large[: len(begun)] = begun
        self._large, self._received = large, len(begun)
        self._large_header = (frame_type, channel)
        self._start = self._end = 0

    def _finish_large(self) -> tuple[int, int, bytes] | None:
        large = self._large
        assert large is not None
        if self._received < len(large):
            return None
        frame_type, channel = self._large_header
        self._check_end(large[-1], frame_type, channel)
        self.frames_read += 1
        self._large = None
        return frame_type, channel, bytes(memoryview(large)[:-1])

    def _check_header(self, frame_type: int, channel: int, size: int) -> None:
        if frame_type not in FRAME_TYPES:
            if frame_type == PROTOCOL_HEADER[0]:  # specification 4.2.2
                raise FrameError("the peer doesn't speak AMQP 0-9-1: it answered with a header")
            raise FrameError(f'frame of unknown type {frame_type} on channel {channel}')
        if size + FRAME_OVERHEAD > self.frame_max:
            raise FrameError(
                f'frame of {size + FRAME_OVERHEAD} octets on channel {channel}: '
                f'frame_max is {self.frame_max}'
            )

    def _check_end(self, octet: int, frame_type: int, channel: int) -> None:
        if octet != FRAME_END:
            raise FrameError(
                f'frame of type {frame_type} on channel {channel} '
                f'ends in octet 0x{octet:02x}, not in 0x{FRAME_END:02x}'
            )
