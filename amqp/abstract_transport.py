"""A blocking stream that carries whole frames.

The socket itself never blocks: every wait happens in one place, with a deadline,
so that a timeout can fall between any two bytes without losing one, and TLS
and plain sockets are one case. Nothing here knows of methods or channels.

Threads: one thread reads at a time (`amqp.connection` sees to that), any
number write; a write lock keeps what belongs together together. The socket is
closed only when no thread waits on it, so that its number is never reused
under a waiting thread.
"""

from __future__ import annotations

import _socket
import errno
import sys
import threading
import time
from _socket import MSG_PEEK, SO_KEEPALIVE, SO_RCVBUF, SOL_SOCKET, TCP_NODELAY
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import inf

from . import platform
from .addresses import AMQP_PORT, connect_error, resolve, to_host_port
from .clock import monotonic
from .coalescing import Coalescing
from .deadline import Deadline
from .exceptions import RecoverableConnectionError
from .locks import OwnedLock
from .parts import drop_sent, gathered
from .read_buffer import CAPACITY, Payload, ReadBuffer
from .sending import is_plain, send_parts
from .sockets import (
    WANT_READ,
    has_hung_up,
    plain,
    shut_down,
    tcp_option,
    unread_octets,
    wait_until_ready,
)
from .spec import FRAME_OVERHEAD, PROTOCOL_HEADER
from .utils import fork_generation, set_cloexec
from .waker import Waker
from .write_queue import WriteQueue

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    import socket
    from typing import Any

__all__ = ('_AbstractTransport',)

#: Set on every TCP socket where the platform has the option. There is no
#: TCP_USER_TIMEOUT among them: a short one cuts healthy slow links
#: (py-amqp#186); set one with ``socket_settings`` where you want it.
DEFAULT_SOCKET_SETTINGS = {
    'TCP_NODELAY': 1,
    'TCP_KEEPIDLE': 60,
    'TCP_KEEPINTVL': 10,
    'TCP_KEEPCNT': 9,
}

#: Until a connection is tuned; what RabbitMQ itself proposes.
INITIAL_FRAME_MAX = 131_072

#: Octets that a batch puts off at most.
BATCH_LIMIT = 64 * 1024

#: Times that a thread sends what others have left before it lets them write by themselves.
ROUNDS = 16

#: Seconds that a thread which waits to read tries to send a batch for, and
#: then reads for, in turn: a peer may take nothing until somebody reads.
FLUSH_PATIENCE = 0.01
READ_PATIENCE = 0.05

#: Octets unread that are counted at most, where the platform doesn't tell their number.
PEEKED = 4096

Buffer = bytes | bytearray | memoryview


#: Seconds without anything to read after which memory is given back.
IDLE_AFTER = 0.1

NO_FRAME = 'no frame came in time'

#: A flag for receiving by which Linux only counts off what others would copy.
DISCARD = _socket.MSG_TRUNC if sys.platform == 'linux' else 0

#: Where octets go that have been read already. What it holds has no meaning.
_waste = bytearray(CAPACITY)


class _EarlierFrameCutOff(RecoverableConnectionError):
    """Another thread's write failed, and that thread is about to tell why."""


class _AbstractTransport:
    """A connected stream that frames are read from and written to.

    :param host: ``host[:port]``.
    :param connect_timeout: seconds for name resolution, TCP and TLS together.
    :param read_timeout: seconds that a read without a deadline may wait.
    :param write_timeout: seconds that a write without a deadline may wait.
    :param socket_settings: ``{option: value}`` for the TCP level, by number
        or by name, over the defaults (keepalive after 60 s, no delay).
    :param raise_on_initial_eintr: whether an interrupted system call ends a
        read that has no byte of a frame yet, as ``socket.timeout``.
    """

    default_port = AMQP_PORT

    def __init__(
        self,
        host: str,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        socket_settings: Mapping[int | str, int | bytes] | None = None,
        raise_on_initial_eintr: bool = True,
        **kwargs: Any,
    ) -> None:
        self.host, self.port = to_host_port(host, self.default_port)
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self.write_timeout = write_timeout
        self.socket_settings = dict(socket_settings or {})
        self._raise_on_initial_eintr = raise_on_initial_eintr
        #: Whether an event loop watches the socket, as far as we have been told.
        self.watched = False
        #: What to connect to, as of `socket.getaddrinfo`; None for a lookup of the host.
        self.addresses: list[Any] | None = None
        self.sock: socket.socket | None = None
        self.connected = False
        #: Octets received and sent.
        self.bytes_recv = 0
        self.bytes_sent = 0
        #: Frames, and messages among them, that were sent or put off by a batch.
        self.frames_sent = 0
        self.messages_sent = 0
        #: When any last were, in monotonic seconds.
        self.received_at = 0.0
        self.sent_at = 0.0
        #: Seconds that the peer may take no byte at all, where neither the
        #: caller nor ``write_timeout`` sets a limit; None: for ever.
        self.stall_timeout: float | None = None
        #: Whether octets that came were lost, and whether a frame was sent in
        #: part: that direction of the stream is out of step for good.
        self.read_torn = False
        self.write_torn = False
        # What tore the latter.
        self._torn_by: BaseException | None = None
        # Whether a layer below, TLS, takes octets from the kernel by itself.
        self._is_layered = False
        # What others set with sock.settimeout() or having_timeout().
        self._ambient_timeout: float | None = None
        self._read_buffer = ReadBuffer(INITIAL_FRAME_MAX)
        # Octets at the end of the read buffer that the kernel still holds too.
        self._borrowed = 0
        #: Whether the last receive got all that the kernel had.
        self.is_drained = False
        self._seen: tuple[int, int, int] | None = None
        # Re-entrant for no other reason than to know its owner.
        self._write_lock = OwnedLock()
        # What other threads leave to its owner.
        self._queue = WriteQueue()
        # Whether the kernel may put small writes together.
        self._coalescing = Coalescing()
        # Whether its owner waits for the peer to take more.
        self._is_amid_write = False
        # What has been put off, and those who want that.
        self._batch = bytearray()
        self._batches: set[object] = set()
        self._close_lock = threading.Lock()
        # One for each wait on the socket.
        self._waiting: set[object] = set()
        # What wakes the thread that waits to read, if anybody has asked for it.
        self._waker: Waker | None = None
        self._closed = False
        self._fork_generation = fork_generation()

    def __repr__(self) -> str:
        state = 'connected' if self.connected else 'disconnected'
        return f'<{type(self).__name__}: {self.host}:{self.port} ({state}) at {id(self):#x}>'

    @property
    def raise_on_initial_eintr(self) -> bool:
        """See the parameter. Kombu sets it when it hands the socket to an event loop."""
        return self._raise_on_initial_eintr

    @raise_on_initial_eintr.setter
    def raise_on_initial_eintr(self, value: bool) -> None:
        self._raise_on_initial_eintr = value
        self.watched = True
        self._coalescing.stop()
        self._coalescing.sock = None

    @property
    def frames_read(self) -> int:
        """How many frames `read_frame` has taken from the stream."""
        return self._read_buffer.frames_read

    @property
    def messages_read(self) -> int:
        """How many messages those frames belonged to."""
        return self._read_buffer.messages_read

    # -- connecting and closing

    def connect(self, deadline: Deadline | None = None) -> None:
        """Connect, negotiate TLS, send the protocol header.

        Every address of the host is tried in turn, all within *deadline* (by
        default ``connect_timeout`` from now). Raises OSError.
        """
        if self.connected:
            return
        if deadline is None:
            deadline = Deadline(self.connect_timeout, time.monotonic())
        try:
            self.sock = self._connect(deadline)
            self._setup_transport(deadline)
            if TCP_NODELAY not in map(tcp_option, self.socket_settings):
                self._coalescing.sock = self.sock
            self.connected = True
            self.write(PROTOCOL_HEADER, deadline)
        except BaseException:
            self.close()
            raise

    def _connect(self, deadline: Deadline) -> socket.socket:
        addresses = self.addresses or resolve(self.host, self.port, deadline)
        causes = []
        for number, (family, kind, proto, _, address) in enumerate(addresses):
            # A mute address must leave time for those behind it (py-amqp#153).
            share = deadline.remaining(time.monotonic())
            if share is not None:
                share /= len(addresses) - number
            try:
                return self._connect_to(family, kind, proto, address, share)
            except OSError as exc:
                causes.append((address, exc))
        raise connect_error(self.host, self.port, causes)

    def _connect_to(
        self, family: int, kind: int, proto: int, address: Any, timeout: float | None
    ) -> socket.socket:
        import socket  # slow to import, and not needed before

        sock = socket.socket(family, kind, proto)
        try:
            set_cloexec(sock, True)
            self._set_socket_options(sock)
            # Zero would mean "don't block" and fail at once, misleadingly.
            sock.settimeout(None if timeout is None else max(timeout, 0.001))
            sock.connect(address)
            sock.settimeout(0.0)
        except BaseException:
            sock.close()
            raise
        return sock

    def _set_socket_options(self, sock: socket.socket) -> None:
        sock.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
        settings: dict[int, int | bytes] = {
            getattr(_socket, name): value
            for name, value in DEFAULT_SOCKET_SETTINGS.items()
            if name in platform.KNOWN_TCP_OPTS and hasattr(_socket, name)
        }
        for option, value in self.socket_settings.items():
            settings[tcp_option(option)] = value
        for number, value in settings.items():
            sock.setsockopt(platform.SOL_TCP, number, value)

    def _setup_transport(self, deadline: Deadline) -> None:
        """Prepare a socket that has just been connected."""

    def close(self) -> None:
        """Drop the connection at once, without a word to the peer.

        Waits of other threads on it end. In a forked child this leaves the
        parent's connection alone. Never blocks.
        """
        if self._fork_generation != fork_generation():
            # The lock may be held for ever by a thread that isn't here.
            self._closed, self.connected = True, False
            self._release_socket()
            return
        with self._close_lock:
            self._closed, self.connected = True, False
            if self.sock is None:
                return
            self._forget_borrowed(self.sock)
            shut_down(self.sock)
            if not self._waiting:
                self._release_socket()

    def _forget_borrowed(self, sock: socket.socket) -> None:
        """Have nothing unread when the socket is closed.

        TCP resets the connection otherwise, and the peer may never see what
        was sent last, a close-ok above all (RFC 1122, 4.2.2.13).
        """
        if self._borrowed:
            with suppress(OSError):
                sock.recv_into(_waste, self._borrowed, DISCARD)
            self._borrowed = 0

    def _release_socket(self) -> None:
        # Forgotten after it is closed, and the socket last, by which `close` goes: a
        # signal handler may raise in between.
        if self._waker is not None:
            self._waker.close()
            self._waker = None
        if self.sock is not None:
            self.sock.close()
            self.sock = self._coalescing.sock = None

    def peer_is_there(self) -> bool:
        """Whether the stream is open as far as the kernel knows; takes no byte of it."""
        sock = self.sock
        return self.connected and sock is not None and not has_hung_up(sock) and self._peek() != b''

    def data_is_waiting(self) -> bool:
        """Whether the peer has sent what nobody has looked at yet.

        The beginning of a frame doesn't count: its rest may never come.
        """
        return self.connected and (
            self._read_buffer.has_frame() or self._decrypted() > 0 or bool(self._peek())
        )

    def has_news(self) -> bool:
        """Whether the peer has sent something since this was asked last, read or not.

        What lies unread is news once, or a peer that is silent since would pass
        for alive; but where so much is unread that the kernel may take no more,
        a silent peer is no wonder.
        """
        if not self.data_is_waiting():
            return False
        try:
            sock = self._usable_socket()
            limit = sock.getsockopt(SOL_SOCKET, SO_RCVBUF) // 8
            unread = unread_octets(sock)
            if unread is None:
                limit = min(PEEKED, limit)
                unread = len(self._peek(limit) or b'')
        except OSError:
            return False
        # What has been read and is still with the kernel is no news again when it goes.
        seen = (self.bytes_recv, self._decrypted(), unread - self._borrowed)
        before, self._seen = self._seen, seen
        return seen != before or unread >= limit

    def holds_data(self) -> bool:
        """Whether bytes have left the kernel and are not handed out as frames yet."""
        buffer = self._read_buffer
        if buffer.end > buffer.start or buffer.awaited is not None:
            return True
        return self._is_layered and self._decrypted() > 0

    def _decrypted(self) -> int:
        """Octets that a layer below has taken from the kernel, and we have not from it."""
        return 0

    def has_frame(self) -> bool:
        """Whether `read_frame` would return at once, without asking the kernel.

        For the thread that reads.
        """
        return self._read_buffer.has_frame()

    def has_unseen_frame(self) -> bool:
        """Whether there is such a frame while the socket looks as if there were none.

        For the thread that reads.
        """
        return not self._borrowed and self.has_frame()

    def _peek(self, limit: int = 1) -> bytes | None:
        """What is next in the kernel: b'' at the end of the stream, None for nothing yet."""
        try:
            return _socket.socket.recv(plain(self._usable_socket()), limit, MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b''

    # -- timeouts

    @contextmanager
    def having_timeout(self, timeout: float | None) -> Iterator[socket.socket | None]:
        """Within the block, reads and writes without a deadline end after *timeout* seconds.

        None changes nothing. They then raise ``socket.timeout``.
        """
        before = self._ambient_timeout
        if timeout is not None:
            self._ambient_timeout = timeout
        try:
            yield self.sock
        finally:
            self._ambient_timeout = before

    def patience(self, *timeouts: float | None) -> float | None:
        """Seconds that an operation without a deadline may wait.

        The lowest of *timeouts* and of what others have set on the socket by
        ``settimeout``, as Celery does.
        """
        if self.sock is not None:
            self._adopt_timeout(self.sock)
        limit = self._ambient_timeout
        for each in timeouts:
            if each is not None and (limit is None or each < limit):
                limit = each
        return limit

    def _usable_socket(self) -> socket.socket:
        sock = self._open_socket()
        self._adopt_timeout(sock)
        return sock

    def _open_socket(self) -> socket.socket:
        sock = self.sock
        if sock is None or self._closed:
            raise ConnectionAbortedError(errno.ECONNABORTED, 'the connection is closed')
        return sock

    def _adopt_timeout(self, sock: socket.socket) -> None:
        """Make a timeout that others have set on the socket one of ours."""
        timeout = sock.gettimeout()
        if timeout != 0.0:
            self._ambient_timeout = timeout
            sock.settimeout(0.0)

    def is_wakeable(self) -> bool:
        """Whether `wake` has an effect."""
        return self._waker is not None

    def make_wakeable(self) -> None:
        """Have `wake` end waits to read, those with a deadline that says so."""
        with self._close_lock:
            self._usable_socket()
            if self._waker is None:
                self._waker = Waker()

    def wake(self) -> None:
        """End such a wait, or else the next one, by `Woken`. Thread-safe, and takes no lock."""
        waker = self._waker
        if waker is not None:
            waker.wake()

    def _wait(
        self, want: int, deadline: Deadline, overdue: str, waker: Waker | None = None
    ) -> None:
        """Wait until the socket is ready; ``socket.timeout`` at the deadline."""
        remaining = deadline.remaining(time.monotonic())
        if remaining == 0:
            raise TimeoutError(overdue)
        wait = object()
        try:
            with self._close_lock:
                sock = self._usable_socket()
                self._waiting.add(wait)
            ready = wait_until_ready(sock, want, remaining, waker)
        finally:
            # Whatever a signal handler raised, wherever: a wait that stays would
            # keep the socket from being closed.
            self._waiting.discard(wait)
            if self._closed:
                self.close()
        if self._fork_generation != fork_generation():
            # A greenlet, unlike a thread, goes on in the child: what has come is the parent's.
            raise ConnectionAbortedError(errno.ECONNABORTED, 'it belongs to the parent process')
        if not ready:
            raise TimeoutError(overdue)

    # -- reading

    def set_frame_max(self, frame_max: int) -> None:
        """The largest frame to accept from now on, in octets."""
        self._read_buffer.frame_max = frame_max

    def read_frame(self, deadline: Deadline | None = None) -> tuple[int, int, Payload]:
        """Wait for the next whole frame: (type, channel, payload).

        :param deadline: when to stop; by default ``read_timeout`` from now.

        Raises ``socket.timeout`` at the deadline (what has come by then is
        kept), `FrameError`, and OSError when the connection is lost.
        One thread at a time.
        """
        while True:
            frame = self._read_buffer.next_frame()
            if self._borrowed:
                self.give_back()
            if frame is not None:
                return frame
            if deadline is None:
                deadline = Deadline(self.patience(self.read_timeout), time.monotonic())
            self.fill(deadline)

    def fill(self, deadline: Deadline) -> None:
        """Take what the socket has into the read buffer; wait for it if it has nothing yet.

        Raises what `read_frame` does. One thread at a time.
        """
        if self.is_drained and not deadline.expired(time.monotonic()):
            try:  # noqa: SIM105 - suppress() costs as much as a system call
                # To wait first costs less than to try in vain.
                self._wait_to_receive(WANT_READ, deadline)
            except TimeoutError:
                pass
        want = self._receive()
        while want:
            self._wait_to_receive(want, deadline)
            want = self._receive()

    def _wait_to_receive(self, want: int, deadline: Deadline) -> None:
        coalescing = self._coalescing
        if deadline.expired(monotonic()):
            self._wait_for_octets(want, deadline)  # no wait, but a look
            return
        coalescing.begin_wait()
        try:
            self._wait_for_octets(want, deadline)
        finally:
            coalescing.end_wait()

    def _wait_for_octets(self, want: int, deadline: Deadline) -> None:
        waker = self._waker if deadline.wakeable else None
        while self._batch and not self._flush_soon(deadline):
            # What came meanwhile is read first: the peer's last words, or
            # what it has to get rid of before it takes more.
            soon = deadline.no_later_than(time.monotonic() + READ_PATIENCE)
            try:
                self._wait(want, soon, NO_FRAME, waker)
            except TimeoutError:
                if soon is deadline or deadline.expired(time.monotonic()):
                    raise
            else:
                return
        if self._read_buffer.is_large():
            soon = deadline.no_later_than(time.monotonic() + IDLE_AFTER)
            try:
                self._wait(want, soon, NO_FRAME, waker)
            except TimeoutError:
                self._read_buffer.shrink()
            else:
                return
        self._wait(want, deadline, NO_FRAME, waker)

    def _flush_soon(self, deadline: Deadline) -> bool:
        """Send what has been put off, if that takes no time; whether it is gone.

        False too where the stream is dead and something is left to be read.
        """
        try:
            self.flush(deadline.no_later_than(time.monotonic() + FLUSH_PATIENCE))
        except TimeoutError:
            return False
        except (OSError, RecoverableConnectionError):
            if self._peek() is None:
                raise
            return False
        return True

    def fill_now(self) -> bool:
        """As `fill`, without waiting; whether anything came."""
        return not self.is_drained and not self._receive()

    def _receive(self) -> int:
        """Receive once; 0, or what there is to wait for."""
        buffer = self._read_buffer
        sock = self._usable_socket()
        if self._borrowed:
            self._return_borrowed(sock)
        space = buffer.space()
        # An exception that falls between the system call and the count of
        # its octets (a signal handler's) puts the stream out of step.
        in_doubt = True
        try:
            if buffer.reads_ahead():
                count = self._borrow_into(sock, space)
            else:
                count = self._recv_into(sock, space)
            if count > 0:
                buffer.received(count)
                self.bytes_recv += count
                self.is_drained = count < len(space) and not self._decrypted()
                self.received_at = time.monotonic()
                return 0
            in_doubt = False
        except InterruptedError:
            in_doubt = False
            if self.raise_on_initial_eintr and not buffer:
                raise TimeoutError('interrupted before a frame began') from None
            return self._receive()
        except TimeoutError as exc:
            raise _lost(exc) from exc
        except BaseException:
            self.read_torn = self.read_torn or in_doubt
            raise
        if count == 0:
            raise ConnectionResetError(errno.ECONNRESET, 'the peer closed the connection')
        return count

    def _borrow_into(self, sock: socket.socket, space: memoryview) -> int:
        """As `_recv_into`, but leave the octets with the kernel as well.

        The socket stays readable until all their frames have been handed out:
        an event loop that watches it may come back for one event at a time,
        and sleep in between unless the socket is readable, as Kombu's does.
        """
        try:
            count = sock.recv_into(space, 0, MSG_PEEK)
        except BlockingIOError:
            return WANT_READ
        self._borrowed = count
        return count

    def give_back(self) -> None:
        """Free the kernel of what has been handed out, if that is all there was.

        Where we know of an event loop the socket stays readable until the
        next read: what the last event gave the loop to do, acks above all, is
        done before it sleeps.
        """
        if not self._read_buffer and not self.watched:
            self._return_borrowed(self._open_socket())

    def _return_borrowed(self, sock: socket.socket) -> None:
        # Counted here, for another thread's `close` may return them as well.
        borrowed = self._borrowed
        in_doubt = True
        try:
            while borrowed:
                borrowed -= sock.recv_into(_waste, borrowed, DISCARD) or borrowed
            in_doubt = False
        finally:
            self.read_torn = self.read_torn or in_doubt
        self._borrowed = 0

    def _recv_into(self, sock: socket.socket, space: memoryview) -> int:
        """Octets received, 0 at the end of the stream, else what to wait for."""
        try:
            return sock.recv_into(space)
        except BlockingIOError:
            return WANT_READ

    # -- writing

    def write(self, data: Buffer, deadline: Deadline | None = None) -> None:
        """Write all of *data*; see `write_all`."""
        self.write_all((data,), deadline)

    def write_all(
        self, parts: Sequence[Buffer], deadline: Deadline | None = None, frames: int = 0
    ) -> None:
        """Write all parts one behind the other, with nothing of others between.

        :param deadline: when to stop; by default ``write_timeout`` from now.
        :param frames: how many of one method they are, to be counted.

        Thread-safe. Raises ``socket.timeout`` at the deadline if not an octet
        has left; `RecoverableConnectionError` if some have, for then no later
        frame could be told from the missing rest; OSError when the connection
        is lost.
        """
        if self._is_amid_write:
            self._refuse_to_write_amid_another()
        if deadline is None:
            deadline = self._write_deadline()
        try:
            self._acquire_write_lock(deadline)
            self._put(gathered(parts), deadline)
            self._count(frames)
        finally:
            self._release_write_lock(deadline)

    def write_gathered(self, parts: list[Buffer], frames: int = 0, may_leave: bool = False) -> None:
        """As `write_all`, for parts of which no small one has a small neighbour.

        :param may_leave: whether it will do that another thread which is writing sends
            them behind its own. What fails then is told by the next write.
        """
        if self._is_amid_write:
            self._refuse_to_write_amid_another()
        lock, queue = self._write_lock, self._queue
        try:
            if not lock.acquire(False):
                if may_leave and not self._is_amid_write and queue.leave(parts, frames):
                    self._send_left()
                    return
                self._acquire_write_lock(self._write_deadline())
            self._put(parts, None)
            self._count(frames)
        except BaseException:
            self._release_write_lock()
            raise
        lock.release()
        if queue:
            self._send_left()

    def _count(self, frames: int) -> None:
        """So many frames of one method have been sent or put off."""
        self.frames_sent += frames
        if frames > 1:  # of a method with content
            self.messages_sent += 1

    def _send_left(self, deadline: Deadline | None = None) -> None:
        """Send what other threads have left, unless one of them does.

        Who leaves something comes here after that, and who has held the write lock comes
        here after giving it back: one of the two sees both. What fails is told by the next
        write: nothing of this thread's is concerned.
        """
        lock, queue = self._write_lock, self._queue
        if lock._is_owned():
            return  # it is a signal handler's, amid a write of its thread
        rounds = 0
        try:
            while queue and lock.acquire(False):
                rounds += 1
                queue.is_open = rounds < ROUNDS
                self._take_left()
                if not self._batches or len(self._batch) > BATCH_LIMIT:
                    with suppress(OSError, RecoverableConnectionError):
                        self._send_batch(deadline)
                lock.release()
        finally:
            if lock._is_owned():
                lock.release()
            queue.is_open = True

    def _take_left(self) -> None:
        """Have what other threads have left go out next; the write lock is held."""
        for write in self._queue.take():
            if not self.write_torn:
                self._batch += write.octets
                self._count(write.frames)

    def _put(self, parts: list[Buffer], deadline: Deadline | None) -> None:
        """Send, or add to the batch; the write lock is held."""
        if self.write_torn:
            raise self._earlier_cut_off()
        if self._queue:
            self._take_left()
        if not self._batches and not self._batch:
            coalescing = self._coalescing
            if coalescing.is_on:
                self._resume()
            self._send_all(parts, deadline)
            coalescing.wrote(self.sent_at)
            return
        size = BATCH_LIMIT + 1
        if self._batches:
            size = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
        if self._batch and len(self._batch) + size > BATCH_LIMIT:
            self._send_batch(deadline)
        if size > BATCH_LIMIT:
            self._send_all(parts, deadline)
            return
        if self._closed:
            self._usable_socket()
        # At once, or an exception in between would leave half a frame.
        self._batch += parts[0] if len(parts) == 1 else b''.join(parts)

    def octets_given(self) -> int:
        """How many have been sent or put off."""
        sent: int = self.bytes_sent
        return sent + len(self._batch)

    def _write_deadline(self) -> Deadline:
        return Deadline(self.patience(self.write_timeout), time.monotonic())

    # -- batches

    def begin_batch(self, batch: object) -> None:
        """Put off what is written from now on, by whichever thread, for that *batch*."""
        self._batches.add(batch)

    def end_batch(self, batch: object) -> None:
        """That one is over: send what has been put off, unless another goes on; as `flush`.

        In a forked child nothing happens: the parent sends it.
        """
        self.forget_batch(batch)
        if not self._batches and self._fork_generation == fork_generation():
            # Whoever is writing may be about to put it off: wait for that.
            self._send_put_off(self._write_deadline())

    def forget_batch(self, batch: object) -> None:
        """Put nothing off for that one any more."""
        self._batches.discard(batch)

    def flush(self, deadline: Deadline | None = None) -> None:
        """Send what has been put off.

        Raises what `write_all` does. What the peer doesn't take in time stays
        put off, and goes out before all that is written later.
        """
        if self._batch and self._fork_generation == fork_generation():
            self._send_put_off(self._write_deadline() if deadline is None else deadline)

    def _send_put_off(self, deadline: Deadline) -> None:
        if self._is_amid_write:
            self._refuse_to_write_amid_another()
        try:
            self._acquire_write_lock(deadline)
            self._send_batch(deadline)
        finally:
            self._release_write_lock(deadline)

    def _resume(self) -> None:
        """Have the kernel keep nothing of what comes behind a pause."""
        self._coalescing.resume(monotonic() - self.sent_at)

    def _send_batch(self, deadline: Deadline | None) -> None:
        self._resume()
        while self._batch:
            if self.write_torn:
                raise self._earlier_cut_off()
            sock = self._usable_socket()
            in_doubt = True
            try:
                with memoryview(self._batch) as octets:
                    count = self._send(sock, [octets])
                if count > 0:
                    del self._batch[:count]
                    self.bytes_sent += count
                    self.sent_at = time.monotonic()
                    continue
                in_doubt = False
            except InterruptedError:
                continue
            except TimeoutError as exc:
                raise _lost(exc) from exc
            except BaseException as exc:
                if in_doubt:
                    self._torn_by, self.write_torn = exc, True
                raise
            if deadline is None:
                deadline = self._write_deadline()
            self._wait_to_send(count, deadline)

    def _refuse_to_write_amid_another(self) -> None:
        """Nothing may come between what this thread has sent of a frame and the rest of it."""
        if self._write_lock._is_owned():
            raise TimeoutError("a signal handler can't write amid a write of its own thread")

    def _acquire_write_lock(self, deadline: Deadline) -> None:
        lock = self._write_lock
        while lock._is_owned():
            # What a signal handler raised fell between taking the lock and
            # what would have given it back.
            lock.release()
        if lock.acquire(False):
            return
        remaining = deadline.remaining(time.monotonic())
        if remaining is not None:
            if not lock.acquire(True, remaining):
                raise TimeoutError("another thread's write didn't end in time")
            return
        before = -1
        patience = -1 if self.stall_timeout is None else self.stall_timeout
        while not lock.acquire(True, patience):
            if self.bytes_sent == before:
                raise ConnectionAbortedError(
                    errno.ETIMEDOUT,
                    f"another thread's write stood still for {self.stall_timeout} s",
                )
            before = self.bytes_sent

    def _release_write_lock(self, deadline: Deadline | None = None) -> None:
        """Give it back, if this thread has it: a signal handler may have raised before it did."""
        if self._write_lock._is_owned():
            self._write_lock.release()
        if self._queue:
            self._send_left(deadline)

    def _send_all(self, parts: list[Buffer], deadline: Deadline | None) -> None:
        sent = 0
        # Whether part of it may have left: an exception then, whosever it is,
        # leaves a frame cut off.
        begun = False
        try:
            while parts:
                sock = self._open_socket()
                if not is_plain(sock):
                    self._adopt_timeout(sock)
                begun = True
                try:
                    count = self._send(sock, parts)
                except InterruptedError:
                    continue
                except TimeoutError as exc:
                    raise _lost(exc) from exc
                if count < 0:
                    begun = sent > 0 or self._holds_unsent()
                    if deadline is None:
                        deadline = self._write_deadline()
                    self._wait_to_send(count, deadline)
                    continue
                sent += count
                self.bytes_sent += count
                self.sent_at = monotonic()
                if len(parts) == 1 and count == len(parts[0]):
                    return
                drop_sent(parts, count)
        except BaseException as exc:
            if not begun:
                raise
            raise self._cut_off(exc, sent, parts)  # noqa: B904 - it is or has the cause

    def _cut_off(self, exc: BaseException, sent: int, parts: list[Buffer]) -> BaseException:
        """What to raise when *parts* are left of a frame of which something may have left."""
        expired = isinstance(exc, TimeoutError)
        if expired and sent + sum(map(len, parts)) == FRAME_OVERHEAD:
            # Without a payload, and so a heartbeat: it is of use even later.
            self._batch += b''.join(parts)
            return exc
        error: BaseException = exc
        if expired:
            error = RecoverableConnectionError(
                f'a write stopped half-way: {exc} ({sent} octets of it had left)'
            )
            error.__cause__ = exc
        self._torn_by, self.write_torn = error, True
        return error

    def _earlier_cut_off(self) -> _EarlierFrameCutOff:
        error = _EarlierFrameCutOff('an earlier frame was cut off half-way')
        error.__cause__ = self._torn_by
        return error

    def _wait_to_send(self, want: int, deadline: Deadline) -> None:
        self._is_amid_write = True
        try:
            self._wait_for_the_peer(want, deadline)
        finally:
            self._is_amid_write = False

    def _wait_for_the_peer(self, want: int, deadline: Deadline) -> None:
        if deadline.at < inf:
            self._wait(want, deadline, 'the peer took no data in time')
            return
        try:
            self._wait(want, Deadline(self.stall_timeout, time.monotonic()), '')
        except TimeoutError:
            # No caller set a limit: this is no expired wait but a dead peer.
            raise ConnectionAbortedError(
                errno.ETIMEDOUT, f'the peer has taken no data for {self.stall_timeout} s'
            ) from None

    def _holds_unsent(self) -> bool:
        """Whether a layer below may send more of a write that was given up."""
        return False

    def _send(self, sock: socket.socket, parts: list[Buffer]) -> int:
        """Octets sent of the parts, or what to wait for."""
        return send_parts(sock, parts)


def _lost(exc: TimeoutError) -> OSError:
    """The kernel's ETIMEDOUT as an error that cannot pass for an expired wait (py-amqp#186).

    No wait of ours is made by the socket.
    """
    return ConnectionAbortedError(exc.errno or errno.ETIMEDOUT, f'connection lost: {exc}')
