"""Where a broker is: ``host:port`` taken apart, names looked up.

Thread-safe.
"""

from __future__ import annotations

import threading
import time

from .deadline import Deadline

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('AMQPS_PORT', 'AMQP_PORT', 'connect_error', 'resolve', 'to_host_port')

AMQP_PORT = 5672
AMQPS_PORT = 5671


def to_host_port(host: str, default_port: int = AMQP_PORT) -> tuple[str, int]:
    """Split ``host``, ``host:port``, ``[ipv6]`` or ``[ipv6]:port``.

    Raises ValueError for a port that is not a number within 1..65535.
    """
    if host.startswith('['):
        name, bracket, rest = host[1:].partition(']')
        if not bracket or (rest and not rest.startswith(':')):
            raise ValueError(f"host {host!r} is not of the form '[address]:port'")
        port = rest[1:]
    elif host.count(':') > 1:  # a bare IPv6 address
        name, port = host, ''
    else:
        name, _, port = host.partition(':')
    if not port:
        return name, default_port
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f'host {host!r}: port {port!r} is not within 1..65535')
    return name, int(port)


def resolve(host: str, port: int, deadline: Deadline) -> list[Any]:
    """The addresses of *host*, in the resolver's order.

    The resolver can't be told a deadline, so a name is looked up in a thread
    that is left to itself if it takes too long.
    """
    import socket  # slow to import

    try:
        return _getaddrinfo(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # a name, not an address
    remaining = deadline.remaining(time.monotonic())
    if remaining is None:
        return _getaddrinfo(host, port)
    outcome: list[Any] = []

    def look_up() -> None:
        try:
            outcome.append(_getaddrinfo(host, port))
        except OSError as exc:
            outcome.append(exc)

    thread = threading.Thread(target=look_up, name=f'resolve {host}', daemon=True)
    thread.start()
    thread.join(remaining)
    if not outcome:
        raise TimeoutError(f"the address of {host!r} wasn't found in time")
    if isinstance(outcome[0], OSError):
        raise outcome[0]
    found: list[Any] = outcome[0]
    return found


def _getaddrinfo(host: str, port: int, flags: int = 0) -> list[Any]:
    import socket

    return socket.getaddrinfo(
        host, port, socket.AF_UNSPEC, socket.SOCK_STREAM, socket.IPPROTO_TCP, flags
    )


def connect_error(host: str, port: int, causes: list[tuple[Any, OSError]]) -> OSError:
    """One error for all addresses, of the class of the last one."""
    last = causes[-1][1]
    if len(causes) == 1:
        return last
    told = '; '.join(f'{address[0]}: {exc}' for address, exc in causes)
    return type(last)(last.errno, f'no address of {host}:{port} could be reached ({told})')
