"""Which stream a connection gets: plain TCP or TLS."""

from __future__ import annotations

from collections.abc import Mapping

from .abstract_transport import DEFAULT_SOCKET_SETTINGS, _AbstractTransport
from .addresses import AMQP_PORT, AMQPS_PORT, to_host_port
from .spec import PROTOCOL_HEADER
from .tls import SSLTransport

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    import ssl as ssl_module
    from typing import Any

__all__ = (
    'AMQPS_PORT',
    'AMQP_PORT',
    'AMQP_PROTOCOL_HEADER',
    'DEFAULT_SOCKET_SETTINGS',
    'SSLTransport',
    'TCPTransport',
    'Transport',
    '_AbstractTransport',
    'to_host_port',
)

AMQP_PROTOCOL_HEADER = PROTOCOL_HEADER


class TCPTransport(_AbstractTransport):
    """A plain TCP stream."""


def Transport(  # noqa: N802 - the name that callers know
    host: str,
    connect_timeout: float | None = None,
    ssl: bool | Mapping[str, Any] | ssl_module.SSLContext = False,
    **kwargs: Any,
) -> _AbstractTransport:
    """A transport for *host*: `SSLTransport` if *ssl* is set, else `TCPTransport`."""
    # An empty dict asks for TLS with its defaults, as ever.
    if ssl or isinstance(ssl, Mapping):
        return SSLTransport(host, connect_timeout=connect_timeout, ssl=ssl, **kwargs)
    return TCPTransport(host, connect_timeout=connect_timeout, **kwargs)
