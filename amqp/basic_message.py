"""The message: a body with its properties (specification 1.8.1)."""

from __future__ import annotations

from .content import GenericContent
from .exceptions import EncodeError
from .tables import loads, read_longlong

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any, ClassVar

__all__ = ('Message',)

METHOD_ID_SIZE = 4

#: What ``delivery_info`` says of a delivery: the arguments of basic.deliver.
DELIVERY_INFO = ('consumer_tag', 'delivery_tag', 'redelivered', 'exchange', 'routing_key')

#: Their flags, in the first octet of the properties.
CONTENT_TYPE = 0x80
CONTENT_ENCODING = 0x40

#: The name of the usual encoding, as it is written.
UTF_8 = b'\x05utf-8'


class Message(GenericContent):
    """A message to publish, or one that was received.

    :param body: bytes, or a str that is encoded by ``content_encoding``
        (UTF-8 if there is none, which is then set).
    :param channel: the channel it came on.
    :param properties: content_type, content_encoding, application_headers (a
        dict), delivery_mode (1 transient, 2 persistent), priority,
        correlation_id, reply_to, expiration (milliseconds, as a str),
        message_id, timestamp (seconds since the epoch, or a datetime), type,
        user_id, app_id, cluster_id. None leaves a property out; names that
        AMQP doesn't have stay with the client.

    Properties read as attributes too: ``message.content_type``.
    """

    CLASS_ID = 60
    PROPERTIES: ClassVar[list[tuple[str, str]]] = [
        ('content_type', 's'),
        ('content_encoding', 's'),
        ('application_headers', 'F'),
        ('delivery_mode', 'o'),
        ('priority', 'o'),
        ('correlation_id', 's'),
        ('reply_to', 's'),
        ('expiration', 's'),
        ('message_id', 's'),
        ('timestamp', 'L'),
        ('type', 's'),
        ('user_id', 's'),
        ('app_id', 's'),
        ('cluster_id', 's'),
    ]

    __slots__ = ('_body', '_delivery_info', '_is_delivered', '_is_text', 'channel')

    def __init__(
        self,
        body: Any = '',
        children: Any = None,
        channel: Any = None,
        frame_method: tuple[int, int] | None = None,
        frame_args: bytes | None = None,
        **properties: Any,
    ) -> None:
        self._begin(frame_method, frame_args, properties)
        self._body: Any = body
        # Whether the body is to become a str, if it can.
        self._is_text = False
        self._delivery_info: dict[str, Any] | None = None
        # Whether `frame_args` are those of basic.deliver, and have been checked.
        self._is_delivered = False
        self.channel: Any = channel

    @property
    def body(self) -> Any:
        """The body; of a received message bytes, or a str where it says how to decode it."""
        if self._is_text:
            self._decode_text()
        return self._body

    @body.setter
    def body(self, body: Any) -> None:
        self._body = body
        self._is_text = False

    @property
    def delivery_info(self) -> dict[str, Any] | None:
        """Of a received message: consumer_tag, delivery_tag, redelivered, exchange, routing_key.

        Of one that was fetched by basic_get, message_count instead of the first.
        """
        if self._delivery_info is None and self._is_delivered:
            values = loads('sLbss', self.frame_args or b'', METHOD_ID_SIZE)[0]
            self._delivery_info = dict(zip(DELIVERY_INFO, values, strict=True))
        return self._delivery_info

    @delivery_info.setter
    def delivery_info(self, delivery_info: dict[str, Any] | None) -> None:
        self._delivery_info = delivery_info

    @property
    def headers(self) -> dict[str, Any] | None:
        """The application headers, if there are any."""
        headers: dict[str, Any] | None = self.properties.get('application_headers')
        return headers

    @property
    def delivery_tag(self) -> int | None:
        """The number to acknowledge a received message by."""
        if self._delivery_info is None and self._is_delivered:
            # Behind the consumer's tag, which has an octet of length.
            args = self.frame_args
            assert args is not None
            return read_longlong(args, METHOD_ID_SIZE + 1 + args[METHOD_ID_SIZE])
        return (self._delivery_info or {}).get('delivery_tag')

    def process(self, requeue: bool = False) -> AbstractContextManager[Message]:
        """Settle a received message by how a ``with`` block ends.

        It is acknowledged; or if the block raises, rejected, and so dropped or
        dead-lettered, or with *requeue* put back. It is put back in any case by
        what is no `Exception`, such as KeyboardInterrupt. Nothing is sent if
        the block has settled it itself, or it came without acknowledgements.

        Raises `RecoverableChannelError` or `RecoverableConnectionError` where
        the channel was lost meanwhile, so that it can't be acknowledged, and
        the broker delivers it again; not if the block raises: that goes on.
        """
        if self.channel is None:
            raise ValueError('the message was not delivered: there is nothing to acknowledge')
        processing: AbstractContextManager[Message] = self.channel._process(self, requeue)
        return processing

    def encoded_body(self) -> bytes | memoryview:
        """The body as octets. Raises `EncodeError`."""
        body = self.body
        if isinstance(body, bytes):
            return body
        if isinstance(body, str):
            return self._encode_text(body)
        try:
            return memoryview(body).cast('B')
        except TypeError as exc:
            raise EncodeError(f'body: {type(body).__name__} is neither bytes nor str') from exc

    def _encode_text(self, body: str) -> bytes:
        encoding = self.properties.get('content_encoding')
        if encoding is None:
            encoding = self.properties['content_encoding'] = 'utf-8'
        try:
            return body.encode(encoding, 'surrogatepass')
        except (LookupError, UnicodeError, TypeError, ValueError) as exc:
            raise EncodeError(f'body: content_encoding {encoding!r}: {exc}') from exc

    def decode_body(self) -> None:
        """Turn the body of a received message into a str, if it says how.

        Where it doesn't, or is wrong about it, the body stays bytes.
        """
        self._is_text = True

    def _decode_text(self) -> None:
        self._is_text = False
        encoding = self._content_encoding()
        if encoding:
            try:  # noqa: SIM105 - suppress() costs more than all the rest
                self._body = self._body.decode(encoding, 'surrogatepass')
            except (LookupError, UnicodeError, TypeError):
                pass  # "binary", "gzip" are no text

    def _content_encoding(self) -> Any:
        octets = self._octets
        if octets is None:
            return self.properties.get('content_encoding')
        # One of the first two properties: the others may be left as they are.
        if not octets[0] & CONTENT_ENCODING:
            return None
        offset = 3 + octets[2] if octets[0] & CONTENT_TYPE else 2
        if octets[offset : offset + len(UTF_8)] == UTF_8:
            return 'utf-8'
        return loads('s', octets, offset)[0][0]

    def _body_complete(self, body: bytes) -> None:
        self._body = body
