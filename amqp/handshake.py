"""Our side of the dialogue that opens a connection (specification 2.2.4)."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil

from . import sasl, spec
from .abstract_channel import MethodSig
from .channel_ids import ChannelIds
from .exceptions import ConnectionError
from .heartbeat import Heartbeat, negotiated_interval
from .negotiation import (
    agreed_capabilities,
    agreed_frame_max,
    largest_frame_accepted,
    lower_limit,
    words,
)
from .states import ConnectionEvent

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('DEFAULT_CHANNEL_MAX', 'Handshake')

DEFAULT_CHANNEL_MAX = 65_535


class Handshake:
    """Answers start, secure, tune and open-ok, and settles what *connection* works with.

    It runs in the thread that reads.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._mechanism: sasl.SASL | None = None

    def listeners(self) -> dict[MethodSig, Callable[..., None]]:
        """What to call upon each method."""
        return {
            spec.Connection.Start: self._on_start,
            spec.Connection.Secure: self._on_secure,
            spec.Connection.Tune: self._on_tune,
            spec.Connection.OpenOk: self._on_open_ok,
        }

    def _on_start(
        self,
        version_major: int,
        version_minor: int,
        server_properties: dict[str, Any],
        mechanisms: str | bytes,
        locales: str | bytes,
    ) -> None:
        connection = self._connection
        connection._state.advance(ConnectionEvent.RECV_START)
        connection.version_major = version_major
        connection.version_minor = version_minor
        connection.server_properties = server_properties
        connection.mechanisms = [name.encode() for name in words(mechanisms)]
        connection.locales = words(locales)
        properties = connection.client_properties
        properties['capabilities'] = agreed_capabilities(
            connection.negotiate_capabilities,
            connection.server_capabilities,
            properties.get('capabilities'),
        )
        mechanism, response = self._authenticate()
        self._send(spec.Connection.StartOk, (properties, mechanism, response, connection.locale))

    def _authenticate(self) -> tuple[bytes, bytes]:
        """The first mechanism of ours that the broker offers and works here, and its response."""
        offered = self._connection.mechanisms
        known = self._connection.authentication
        for mechanism in known:
            if mechanism.mechanism not in offered:
                continue
            response = mechanism.start(self._connection)
            if response is not NotImplemented:
                self._mechanism = mechanism
                return mechanism.mechanism, response
        theirs = b', '.join(offered).decode()
        ours = b', '.join(each.mechanism or b'?' for each in known).decode()
        raise ConnectionError(
            f'no authentication mechanism in common: the broker offers {theirs}; we know {ours}'
        )

    def _on_secure(self, challenge: str | bytes) -> None:
        self._connection._state.advance(ConnectionEvent.RECV_SECURE)
        assert self._mechanism is not None
        if isinstance(challenge, str):
            challenge = challenge.encode('utf-8', 'surrogatepass')
        self._send(spec.Connection.SecureOk, (self._mechanism.respond(challenge),))

    def _on_tune(self, channel_max: int, frame_max: int, heartbeat: int) -> None:
        connection = self._connection
        connection._state.advance(ConnectionEvent.RECV_TUNE)
        channel_max = lower_limit(connection.channel_max, channel_max) or DEFAULT_CHANNEL_MAX
        frame_max = agreed_frame_max(connection.frame_max, frame_max)
        interval = negotiated_interval(connection.client_heartbeat, heartbeat)
        connection.channel_max = channel_max
        connection.frame_max = frame_max
        connection.server_heartbeat = heartbeat
        connection.heartbeat = interval
        connection._registry.ids = ChannelIds(channel_max)
        connection._heartbeat = Heartbeat(interval, time.monotonic())
        transport = connection.transport
        transport.set_frame_max(largest_frame_accepted(frame_max, connection.max_message_size))
        if interval:
            transport.stall_timeout = 2 * interval
        self._send(spec.Connection.TuneOk, (channel_max, frame_max, ceil(interval)))
        connection._events.add(connection, connection.on_tune_ok, connection)
        self._send(spec.Connection.Open, (connection.virtual_host, '', False))

    def _on_open_ok(self, reserved: str = '') -> None:
        self._connection._state.advance(ConnectionEvent.RECV_OPEN_OK)
        self._mechanism = None  # it has the password

    def _send(self, sig: MethodSig, args: tuple[Any, ...]) -> None:
        payload = self._connection._encode_arguments(sig, spec.METHODS[sig].format, args)
        self._connection._write_method(0, sig, payload, None)
