"""Handing octets to the kernel.

The compiled build does so without a detour over Python's sockets, where the
socket is one of Python's own: ``sending.pyx``.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('WANT_WRITE', 'is_plain', 'send_parts')

#: What a send that could not go on is waiting for.
WANT_WRITE = -2

try:
    IOV_MAX = min(os.sysconf('SC_IOV_MAX'), 1024)
except (AttributeError, OSError, ValueError):
    IOV_MAX = 16


def is_plain(sock: Any) -> bool:  # noqa: ARG001 - the twin in C looks at it
    """Whether the socket's descriptor is written to, whatever timeout the socket has.

    So it is where nobody has put something of his own between the socket and
    the kernel: TLS does, and gevent and eventlet do. Never without C.
    """
    return False


def send_parts(sock: Any, parts: list[Any]) -> int:
    """How many octets of *parts* the kernel has taken, or `WANT_WRITE`: it takes none just now.

    The socket doesn't block. Raises OSError.
    """
    try:
        if len(parts) == 1 or not hasattr(sock, 'sendmsg'):  # Windows has none
            sent: int = sock.send(parts[0])
        else:
            sent = sock.sendmsg(parts[:IOV_MAX])
    except BlockingIOError:
        return WANT_WRITE
    return sent
