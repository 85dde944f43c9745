"""What is asked of a socket, on every platform and over greenlets.

The socket doesn't block: what can't go on tells what to wait for.
"""

from __future__ import annotations

import _socket
import errno
import select
import sys
from _socket import SHUT_RDWR

from .polling import POLLIN, POLLOUT, wait_for
from .waker import Waker, Woken

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    import socket
    from typing import Any

__all__ = (
    'WANT_READ',
    'has_hung_up',
    'plain',
    'shut_down',
    'tcp_option',
    'unread_octets',
    'wait_until_ready',
)

#: What a system call that could not go on is waiting for; `amqp.sending.WANT_WRITE` is the other.
WANT_READ = -1

#: What `wait_for` says where nothing but the waker is ready.
WAKER_READY = 2


def tcp_option(option: int | str) -> int:
    """The number of an option of the TCP level. ValueError if the platform hasn't it."""
    if isinstance(option, int):
        return option
    number = getattr(_socket, option, None)
    if number is None:
        raise ValueError(f'socket_settings: this platform has no option {option!r}')
    return int(number)


def plain(sock: Any) -> Any:
    """The plain socket within one of eventlet's or gevent's, or the socket itself."""
    return getattr(sock, 'fd', None) or getattr(sock, '_sock', sock)


def shut_down(sock: socket.socket) -> None:
    """End both directions: waits of other threads on it are over. Twice does no harm."""
    try:
        # An SSLSocket's own would forget the session that another thread may be using.
        _socket.socket.shutdown(plain(sock), SHUT_RDWR)
    except OSError as exc:
        if exc.errno not in (errno.ENOTCONN, errno.EINVAL, errno.EBADF):
            raise


def wait_until_ready(
    sock: socket.socket, want: int, timeout: float | None, waker: Waker | None = None
) -> bool:
    """Wait until the socket is ready or has failed; False after *timeout* seconds.

    Raises `Woken` where only the *waker* is ready. The select module's names
    are looked up at each call: gevent and eventlet replace them, and not all
    platforms have poll.
    """
    if hasattr(select, 'poll'):
        events = POLLIN if want == WANT_READ else POLLOUT
        ready = wait_for(sock.fileno(), events, timeout, -1 if waker is None else waker.fileno())
    else:
        readers: list[Any] = [sock] if want == WANT_READ else []
        writers = [] if readers else [sock]
        if waker is not None:
            readers.append(waker)
        found = select.select(readers, writers, [sock], timeout)
        ready = 0
        for each in (*found[0], *found[1], *found[2]):
            ready |= 1 if each is sock else 2
    if waker is not None and ready == WAKER_READY:
        waker.clear()
        raise Woken
    return ready > 0


def has_hung_up(sock: socket.socket) -> bool:
    """Whether the peer has closed, even if what it sent before is still unread.

    Only where poll can tell that: on Linux.
    """
    if not hasattr(select, 'poll') or not hasattr(select, 'POLLRDHUP'):
        return False
    poller = select.poll()
    poller.register(sock, select.POLLRDHUP)
    return bool(poller.poll(0))


def unread_octets(sock: socket.socket) -> int | None:
    """Octets that the kernel has for us, where the platform tells."""
    try:
        # Not on Windows; and used by those alone who tick and don't read.
        from fcntl import ioctl
        from termios import FIONREAD
    except ImportError:
        return None
    return int.from_bytes(ioctl(sock.fileno(), FIONREAD, bytes(4)), sys.byteorder)
