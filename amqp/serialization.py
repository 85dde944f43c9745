"""Fields and content: the codec's public names, and what all content has in common.

The codec is `amqp.tables`. Its names are here too: import them from here.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar

from .exceptions import FrameSyntaxError
from .scalars import BASIC_PROPERTIES, MAX_DEPTH
from .tables import (
    _read_item,
    _write_array,
    _write_item,
    _write_table,
    decode_properties_basic,
    dumps,
    encode_properties,
    loads,
    take_properties,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .scalars import Buffer

__all__ = (
    'BASIC_PROPERTIES',
    'MAX_DEPTH',
    'PROPERTY_CLASSES',
    'GenericContent',
    '_read_item',
    '_write_array',
    '_write_item',
    '_write_table',
    'decode_properties_basic',
    'dumps',
    'encode_properties',
    'loads',
    'take_properties',
)

_content_header = Struct('>HHQ')

# Class id -> decoder of its properties.
PROPERTY_CLASSES: dict[int, Callable[[Buffer, int], tuple[dict[str, Any], int]]] = {
    60: decode_properties_basic,
}


class GenericContent:
    """What content has in common: properties, and a body that comes in pieces.

    Subclasses say which class of the protocol they belong to (``CLASS_ID``)
    and which properties it has, in the order of their flags (``PROPERTIES``).
    """

    CLASS_ID: ClassVar[int | None] = None
    PROPERTIES: ClassVar[list[tuple[str, str]]] = [('dummy', 's')]

    __slots__ = (
        '_pending_chunks',
        'body_received',
        'body_size',
        'frame_args',
        'frame_method',
        'header_received',
        'properties',
    )

    def __init__(
        self,
        frame_method: tuple[int, int] | None = None,
        frame_args: bytes | None = None,
        **props: Any,
    ) -> None:
        #: The method that this content belongs to, and its payload.
        self.frame_method = frame_method
        self.frame_args = frame_args
        self.properties: dict[str, Any] = props
        self._pending_chunks: list[bytes] = []
        #: Octets of the body, announced and received.
        self.body_size = 0
        self.body_received = 0
        self.header_received = False

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
        if len(buf) - offset < 14:
            raise FrameSyntaxError(f'content header of {len(buf) - offset} octets')
        class_id, _weight, self.body_size = _content_header.unpack_from(buf, offset)
        offset = self._load_properties(class_id, buf, offset + 12)
        self.header_received = True
        if not self.body_size:
            self._body_complete(b'')
        return offset

    def inbound_body(self, buf: bytes) -> None:
        """Take the payload of a body frame."""
        self.body_received += len(buf)
        if self.body_received < self.body_size:
            self._pending_chunks.append(buf)
        elif self._pending_chunks:
            self._pending_chunks.append(buf)
            self._body_complete(b''.join(self._pending_chunks))
            self._pending_chunks.clear()
        else:
            self._body_complete(buf)

    def _body_complete(self, body: bytes) -> None:
        """The whole body is there."""

    def _load_properties(self, class_id: int, buf: bytes, offset: int) -> int:
        decode = PROPERTY_CLASSES.get(class_id)
        if decode is None:
            raise FrameSyntaxError(f'content of class {class_id}, which has none')
        self.properties, offset = decode(buf, offset)
        return offset

    def _serialize_properties(self) -> bytes:
        """The properties as a header frame holds them. Raises `EncodeError`."""
        return encode_properties(self.properties)
