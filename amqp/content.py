"""What content has in common: properties, and a body that comes in pieces."""

from __future__ import annotations

from struct import Struct

from .body_buffer import BodyBuffer
from .exceptions import FrameSyntaxError
from .tables import decode_properties_basic, encode_properties, take_properties

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from .scalars import Buffer

__all__ = ('PROPERTY_CLASSES', 'GenericContent')

# Class id -> decoder of its properties.
PROPERTY_CLASSES: dict[int, Callable[[Buffer, int], tuple[dict[str, Any], int]]] = {
    60: decode_properties_basic,
}

_content_header = Struct('>HHQ')

#: Where the properties begin in the payload of a header frame.
PROPERTIES_OFFSET = 12


class GenericContent:
    """Content: properties, and a body that comes in pieces.

    Subclasses say which class of the protocol they belong to (``CLASS_ID``)
    and which properties it has, in the order of their flags (``PROPERTIES``).
    """

    CLASS_ID: ClassVar[int | None] = None
    PROPERTIES: ClassVar[list[tuple[str, str]]] = [('dummy', 's')]

    __slots__ = (
        '__dict__',
        '__weakref__',
        '_body_buffer',
        '_octets',
        '_properties',
        'body_received',
        'body_size',
        'frame_args',
        'frame_method',
        'header_received',
    )

    def __init__(
        self,
        frame_method: tuple[int, int] | None = None,
        frame_args: bytes | None = None,
        **props: Any,
    ) -> None:
        self._begin(frame_method, frame_args, props)

    def _begin(
        self,
        frame_method: tuple[int, int] | None,
        frame_args: bytes | None,
        properties: dict[str, Any],
    ) -> None:
        #: The method that this content belongs to, and its payload.
        self.frame_method = frame_method
        self.frame_args = frame_args
        self._properties: dict[str, Any] | None = properties
        # The properties as they came, until they are decoded.
        self._octets: bytes | None = None
        self._body_buffer: BodyBuffer | None = None
        #: Octets of the body, announced and received.
        self.body_size = 0
        self.body_received = 0
        self.header_received = False

    @property
    def properties(self) -> dict[str, Any]:
        """The properties by name; of a received message those that it has."""
        properties = self._properties
        if properties is None:
            # They have been checked when they came: this can't fail.
            properties = self._decode_properties()
            self._properties, self._octets = properties, None
        return properties

    @properties.setter
    def properties(self, properties: dict[str, Any]) -> None:
        self._properties = properties
        self._octets = None

    @property
    def ready(self) -> bool:
        """Whether header and body have come whole."""
        return self.header_received and self.body_received == self.body_size

    def __getattr__(self, name: str) -> Any:
        # Only reached for what is no attribute: a property then.
        if not name.startswith('_') and name != 'properties':
            try:
                return self.properties[name]
            except KeyError:
                pass
        raise AttributeError(name)

    def inbound_header(self, buf: bytes, offset: int = 0) -> int:
        """Take the payload of a header frame; the offset behind it."""
        if len(buf) - offset < PROPERTIES_OFFSET + 2:
            raise FrameSyntaxError(f'content header of {len(buf) - offset} octets')
        class_id, _weight, self.body_size = _content_header.unpack_from(buf, offset)
        end = self._load_properties(class_id, buf, offset + PROPERTIES_OFFSET)
        self.header_received = True
        if not self.body_size:
            self._body_complete(b'')
        return end

    def inbound_body(self, buf: bytes | memoryview) -> None:
        """Take the payload of a body frame."""
        count = len(buf)
        if count == self.body_size and isinstance(buf, bytes):
            self._body_buffer = None
            self._body_complete(buf)
        else:
            memory = self.body_buffer()
            memory.add(buf)
            if memory.is_whole():
                self._body_buffer = None
                self._body_complete(memory.body())
        self.body_received += count

    def body_buffer(self) -> BodyBuffer:
        """The memory for the body, where it comes in several frames or a large one."""
        if self._body_buffer is None:
            self._body_buffer = BodyBuffer(self.body_size)
        return self._body_buffer

    def _body_complete(self, body: bytes) -> None:
        """The whole body is there."""

    def _load_properties(self, class_id: int, buf: bytes, offset: int) -> int:
        if class_id not in PROPERTY_CLASSES:
            raise FrameSyntaxError(f'content of class {class_id}, which has none')
        properties = self._properties = take_properties(buf, offset)
        self._octets = buf[offset:] if properties is None else None
        return len(buf)

    def _decode_properties(self) -> dict[str, Any]:
        if self._octets is None:
            return {}
        properties: dict[str, Any] = decode_properties_basic(self._octets, 0)[0]
        return properties

    def _serialize_properties(self) -> bytes:
        """The properties as a header frame holds them. Raises `EncodeError`."""
        return encode_properties(self.properties)
