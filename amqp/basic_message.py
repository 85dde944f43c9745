"""The message: a body with its properties (specification 1.8.1)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

from .exceptions import EncodeError
from .serialization import GenericContent

__all__ = ('Message',)


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

    __slots__ = ('body', 'channel', 'delivery_info')

    def __init__(
        self,
        body: Any = '',
        children: Any = None,
        channel: Any = None,
        frame_method: tuple[int, int] | None = None,
        frame_args: bytes | None = None,
        **properties: Any,
    ) -> None:
        super().__init__(frame_method, frame_args, **properties)
        self.body: Any = body
        self.channel: Any = channel
        #: Of a received message: consumer_tag, delivery_tag, redelivered,
        #: exchange, routing_key (message_count instead of the first for one
        #: that was fetched by basic_get).
        self.delivery_info: dict[str, Any] | None = None

    @property
    def headers(self) -> dict[str, Any] | None:
        """The application headers, if there are any."""
        headers: dict[str, Any] | None = self.properties.get('application_headers')
        return headers

    @property
    def delivery_tag(self) -> int | None:
        """The number to acknowledge a received message by."""
        return (self.delivery_info or {}).get('delivery_tag')

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
        encoding = self.properties.get('content_encoding')
        if not encoding:
            return
        with suppress(LookupError, UnicodeError, TypeError):  # "binary", "gzip" are no text
            self.body = self.body.decode(encoding, 'surrogatepass')

    def _body_complete(self, body: bytes) -> None:
        self.body = body
