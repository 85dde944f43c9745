"""A scripted AMQP peer: real bytes over a loopback socket, so that a test reads like a transcript.

It shares nothing with the package under test. Frames are built and parsed by pamqp, the stream
is cut into frames here, and anything may be sent as raw bytes. ::

    def test_declare_times_out(peer):
        @peer.script
        def _(p):
            p.handshake()
            p.expect(commands.Channel.Open)
            p.send(1, commands.Channel.OpenOk())
            p.expect(commands.Queue.Declare)    # and no answer
        with amqp.Connection(peer.host, rpc_timeout=0.3) as connection:
            ...

Each accepted connection is a `Wire` with a thread of its own, which runs the next script (or the
`serve` loop, a broker in miniature). When the script returns the wire stays open, and the test
itself may go on with it: every method of `Wire` may be called from any thread, but only one
thread may read. Every wait has a deadline; what goes wrong in a script is raised by `Peer.close`.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from pamqp import commands, heartbeat
from pamqp import frame as pamqp_frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader, ProtocolHeader

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE
FRAME_OVERHEAD = 8

#: Seconds that any wait of the peer may last: generous, for only a failing test gets there.
PATIENCE = 15.0

#: Small enough that a client which publishes without end doesn't get far ahead
#: of what is written in Python here: whatever it asks for would have to wait.
RCVBUF = 32 * 1024

#: What RabbitMQ announces of itself.
CAPABILITIES = {
    'publisher_confirms': True,
    'exchange_exchange_bindings': True,
    'basic.nack': True,
    'consumer_cancel_notify': True,
    'connection.blocked': True,
    'consumer_priorities': True,
    'authentication_failure_close': True,
    'per_consumer_qos': True,
    'direct_reply_to': True,
}

Frame = Any  # pamqp's frames have no base in common with its header and body
Script = Callable[['Wire'], object]


class PeerError(AssertionError):
    """The client did something else than what the script says."""


class EndOfStream(PeerError):
    """The client has closed its socket."""


# -- bytes


def raw_frame(
    kind: int, channel: int, payload: bytes, *, size: int | None = None, end: int = FRAME_END
) -> bytes:
    """Any frame, right or wrong: `size` and `end` override what belongs there."""
    header = struct.pack('>BHI', kind, channel, len(payload) if size is None else size)
    return header + payload + bytes([end])


def raw_method(channel: int, sig: tuple[int, int], arguments: bytes = b'') -> bytes:
    """A method frame with arguments as given."""
    return raw_frame(METHOD, channel, struct.pack('>HH', *sig) + arguments)


def marshal(channel: int, *frames: Frame) -> bytes:
    """These frames as bytes."""
    return b''.join(pamqp_frame.marshal(frame, channel) for frame in frames)


def content(
    channel: int,
    method: Frame,
    body: bytes = b'',
    *,
    frame_max: int = 131_072,
    properties: commands.Basic.Properties | None = None,
) -> list[bytes]:
    """A method with content: its method frame, its header, its body cut at frame_max."""
    header = ContentHeader(
        body_size=len(body), properties=properties or commands.Basic.Properties()
    )
    room = frame_max - FRAME_OVERHEAD
    parts = [body[start : start + room] for start in range(0, len(body), room)]
    return [marshal(channel, method), marshal(channel, header)] + [
        raw_frame(BODY, channel, part) for part in parts
    ]


def delivery(
    channel: int,
    consumer_tag: str = 'tag',
    delivery_tag: int = 1,
    body: bytes = b'',
    *,
    routing_key: str = 'key',
    exchange: str = '',
    redelivered: bool = False,
    **options: Any,
) -> bytes:
    """A delivered message as one run of bytes; `options` as those of `content`."""
    method = commands.Basic.Deliver(consumer_tag, delivery_tag, redelivered, exchange, routing_key)
    return b''.join(content(channel, method, body, **options))


def split_frames(stream: bytes) -> list[tuple[int, int, bytes]]:
    """Cut a byte stream into (type, channel, payload); an error if it isn't whole frames."""
    frames, offset = [], 0
    while offset < len(stream):
        frame, offset = _cut(stream, offset)
        if frame is None:
            raise PeerError(f'{len(stream) - offset} octets at the end are no whole frame')
        frames.append(frame)
    return frames


def _cut(stream: bytes | bytearray, offset: int) -> tuple[tuple[int, int, bytes] | None, int]:
    if len(stream) - offset < FRAME_OVERHEAD:
        return None, offset
    kind, channel, size = struct.unpack_from('>BHI', stream, offset)
    if kind not in (METHOD, HEADER, BODY, HEARTBEAT):
        raise PeerError(f'the client sent a frame of type {kind} (channel {channel}, size {size})')
    end = offset + 7 + size
    if len(stream) <= end:
        return None, offset
    if stream[end] != FRAME_END:
        raise PeerError(f'a frame of type {kind} on channel {channel} ends in {stream[end]:#x}')
    return (kind, channel, bytes(stream[offset + 7 : end])), end + 1


def _decode(kind: int, channel: int, payload: bytes) -> Frame:
    _, _, frame = pamqp_frame.unmarshal(raw_frame(kind, channel, payload))
    return frame


class Published(NamedTuple):
    """A message as the client published it, and the sizes of the body frames it came in."""

    channel: int
    method: commands.Basic.Publish
    header: ContentHeader
    body: bytes
    body_frames: tuple[int, ...]


class _Assembly:
    """The content of one channel on its way in; refuses what the grammar (4.2.6) forbids."""

    def __init__(self, method: commands.Basic.Publish) -> None:
        self.method = method
        self.header: ContentHeader | None = None
        self.parts: list[bytes] = []

    def take(self, channel: int, frame: Frame) -> Published | None:
        if self.header is None:
            if not isinstance(frame, ContentHeader):
                raise PeerError(f'channel {channel}: {frame!r} where a content header belongs')
            self.header = frame
        elif not isinstance(frame, ContentBody):
            raise PeerError(f'channel {channel}: {frame!r} inside the body of a message')
        else:
            self.parts.append(frame.value)
        missing = self.header.body_size - sum(map(len, self.parts))
        if missing < 0:
            raise PeerError(f'channel {channel}: a body longer than its header says')
        if missing:
            return None
        body = b''.join(self.parts)
        return Published(channel, self.method, self.header, body, tuple(map(len, self.parts)))


# -- one connection

#: What a broker answers to a synchronous method; None for methods that have no answer.
REPLIES: dict[type, Callable[[Frame], Frame]] = {
    commands.Connection.UpdateSecret: lambda _: commands.Connection.UpdateSecretOk(),
    commands.Connection.Close: lambda _: commands.Connection.CloseOk(),
    commands.Channel.Open: lambda _: commands.Channel.OpenOk(),
    commands.Channel.Close: lambda _: commands.Channel.CloseOk(),
    commands.Channel.Flow: lambda asked: commands.Channel.FlowOk(asked.active),
    commands.Exchange.Declare: lambda _: commands.Exchange.DeclareOk(),
    commands.Exchange.Delete: lambda _: commands.Exchange.DeleteOk(),
    commands.Exchange.Bind: lambda _: commands.Exchange.BindOk(),
    commands.Exchange.Unbind: lambda _: commands.Exchange.UnbindOk(),
    commands.Queue.Declare: lambda asked: commands.Queue.DeclareOk(asked.queue or 'amq.gen', 0, 0),
    commands.Queue.Bind: lambda _: commands.Queue.BindOk(),
    commands.Queue.Unbind: lambda _: commands.Queue.UnbindOk(),
    commands.Queue.Purge: lambda _: commands.Queue.PurgeOk(0),
    commands.Queue.Delete: lambda _: commands.Queue.DeleteOk(0),
    commands.Basic.Qos: lambda _: commands.Basic.QosOk(),
    commands.Basic.Consume: lambda asked: commands.Basic.ConsumeOk(asked.consumer_tag or 'tag'),
    commands.Basic.Cancel: lambda asked: commands.Basic.CancelOk(asked.consumer_tag),
    commands.Basic.Get: lambda _: commands.Basic.GetEmpty(),
    commands.Basic.Recover: lambda _: commands.Basic.RecoverOk(),
    commands.Confirm.Select: lambda _: commands.Confirm.SelectOk(),
    commands.Tx.Select: lambda _: commands.Tx.SelectOk(),
    commands.Tx.Commit: lambda _: commands.Tx.CommitOk(),
    commands.Tx.Rollback: lambda _: commands.Tx.RollbackOk(),
}


class Handshake(NamedTuple):
    """What the client said in the handshake."""

    header: bytes
    start_ok: commands.Connection.StartOk
    tune_ok: commands.Connection.TuneOk
    open: commands.Connection.Open


class Wire:
    """One accepted connection."""

    def __init__(self, sock: socket.socket, patience: float) -> None:
        self.sock = sock
        self.patience = patience
        #: All frames that came, decoded, as (channel, frame); and their bytes.
        self.received: list[tuple[int, Frame]] = []
        self.received_bytes = bytearray()
        #: The messages that came, whole.
        self.published: list[Published] = []
        self.closed = False
        #: Set when the client's stream has ended, and when the script has.
        self.ended = threading.Event()
        self.finished = threading.Event()
        self.error: BaseException | None = None
        self._unread = bytearray()
        self._assembling: dict[int, _Assembly] = {}
        self._confirming: dict[int, int] = {}
        self._closing: set[int] = set()  # channels that we closed, until close-ok
        self._news = threading.Condition()
        self._send_lock = threading.RLock()  # held per message, so that frames don't interleave
        self._io_lock = threading.Lock()  # an SSLSocket isn't to be used by two threads at once
        self._reading = threading.Event()
        self._reading.set()
        self._wake_read, self._wake_write = os.pipe()
        self._released = False
        self._polling = 0
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Be the server's side of a TLS handshake."""
        self.sock = context.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
        self._until(self.sock.do_handshake, 'the TLS handshake')

    # -- sending

    def send(self, channel: int, *frames: Frame) -> None:
        """Send frames on a channel."""
        if any(isinstance(frame, commands.Channel.Close) for frame in frames):
            self._closing.add(channel)
        self.send_raw(marshal(channel, *frames))

    def send_raw(self, *parts: bytes) -> None:
        """Send bytes as they are, in one write as far as the socket takes them."""
        view = memoryview(b''.join(parts))
        with self._send_lock:
            while view:
                view = view[self._until(partial(self.sock.send, view), 'the client to read') :]

    def heartbeat(self) -> None:
        """Send a heartbeat."""
        self.send(0, heartbeat.Heartbeat())

    def deliver(self, channel: int = 1, *args: Any, **kwargs: Any) -> None:
        """Deliver a message; arguments as those of `delivery`."""
        self.send_raw(delivery(channel, *args, **kwargs))

    def send_content(self, channel: int, method: Frame, body: bytes = b'', **options: Any) -> None:
        """Send a method that carries content (a return, a get-ok)."""
        self.send_raw(*content(channel, method, body, **options))

    def dribble(self, stream: bytes, between: Callable[[], object], step: int = 1) -> None:
        """Send a few bytes at a time, and call `between` after each but the last."""
        for start in range(0, len(stream), step):
            self.send_raw(stream[start : start + step])
            if start + step < len(stream):
                between()

    def replay(self, stream: bytes, cut: int, between: Callable[[], object]) -> None:
        """Send a recorded stream in two pieces, and call `between` at the cut."""
        self.send_raw(stream[:cut])
        between()
        self.send_raw(stream[cut:])

    def unsent(self) -> int:
        """Octets sent by us that the client's kernel hasn't taken yet."""
        return struct.unpack('i', fcntl.ioctl(self.sock, termios.TIOCOUTQ, b'\0' * 4))[0]

    # -- the end of it

    def eof(self) -> None:
        """End our half of the stream in an orderly way (FIN); the client may go on writing."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection (RST)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.close()

    def close(self) -> None:
        """Close the socket. Who waits on it is woken first, for a poll holds it open."""
        with self._news:
            if not self.closed:
                os.write(self._wake_write, b'x')
            self.closed = True
            self._news.wait_for(lambda: not self._polling, self.patience)
            with self._io_lock:
                self.sock.close()
        self._reading.set()

    def release(self) -> None:
        """Wake the script up and let it come to its end: the test is over."""
        self._released = True
        self._reading.set()
        os.write(self._wake_write, b'x')

    def dispose(self) -> None:
        """Give all descriptors back, once the script's thread is over."""
        if not self.closed:
            self.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # -- waiting

    def _until(self, operation: Callable[[], Any], purpose: str) -> Any:
        """Repeat a non-blocking operation until it goes through."""
        give_up = time.monotonic() + self.patience
        while True:
            want = select.POLLOUT
            try:
                with self._io_lock:
                    return operation()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as exc:
                if isinstance(exc, ssl.SSLWantReadError):
                    want = select.POLLIN
            except BlockingIOError:
                pass
            if not self._poll(want, give_up):
                raise PeerError(f'waited in vain for {purpose}')

    def _poll(self, want: int, give_up: float) -> bool:
        """Wait for the socket; False at the deadline or when the test is over."""
        with self._news:
            if self.closed:
                raise EndOfStream('the peer has closed')
            poller = select.poll()
            poller.register(self.sock, want)
            poller.register(self._wake_read, select.POLLIN)
            self._polling += 1
        try:
            ready = dict(poller.poll(max(0.0, give_up - time.monotonic()) * 1000))
        finally:
            with self._news:
                self._polling -= 1
                self._news.notify_all()
        if self.closed:
            raise EndOfStream('the peer has closed')
        return bool(ready) and self._wake_read not in ready

    def wait(self, event: threading.Event, purpose: str = 'an event of the test') -> None:
        """Wait for the test to do something."""
        if not event.wait(self.patience):
            raise PeerError(f'waited in vain for {purpose}')

    def hold(self) -> None:
        """Say nothing and read nothing until the test is over."""
        select.select([self._wake_read], [], [], self.patience)

    def until_eof(self) -> None:
        """Take in whatever comes, unparsed, until the client has closed its socket."""
        with suppress(EndOfStream):
            while True:
                self._receive('the end of the stream')

    def pause(self) -> None:
        """Have the `serve` loop stop reading: the client's writes will block before long."""
        self._reading.clear()

    def resume(self) -> None:
        """Read on after `pause`."""
        self._reading.set()

    # -- receiving

    def next_bytes(self, count: int) -> bytes:
        """The next bytes, whatever they are."""
        while len(self._unread) < count:
            self._receive(f'{count} octets')
        taken = bytes(self._unread[:count])
        del self._unread[:count]
        return taken

    def next_frame(self, purpose: str = 'a frame') -> tuple[int, Frame]:
        """The next frame as (channel, frame)."""
        while True:
            cut, end = _cut(self._unread, 0)
            if cut is not None:
                break
            self._receive(purpose)
        del self._unread[:end]
        channel, frame = cut[1], _decode(*cut)
        with self._news:
            self.received.append((channel, frame))
            self._assemble(channel, frame)
            self._news.notify_all()
        return channel, frame

    def _receive(self, purpose: str) -> None:
        give_up = time.monotonic() + self.patience
        while True:
            try:
                with self._io_lock:
                    data = self.sock.recv(65536)
                break
            except (BlockingIOError, ssl.SSLWantReadError):
                if not self._poll(select.POLLIN, give_up):
                    raise PeerError(f'waited in vain for {purpose}') from None
            except OSError as exc:
                self._note_end()
                raise EndOfStream(f'{exc} where {purpose} should come') from exc
        if not data:
            self._note_end()
            raise EndOfStream(f'the client closed where {purpose} should come')
        self.received_bytes += data
        self._unread += data

    def _note_end(self) -> None:
        self.ended.set()
        with self._news:
            self._news.notify_all()

    def _assemble(self, channel: int, frame: Frame) -> None:
        assembly = self._assembling.get(channel)
        if assembly is None:
            if isinstance(frame, commands.Basic.Publish):
                self._assembling[channel] = _Assembly(frame)
            elif isinstance(frame, (ContentHeader, ContentBody)):
                raise PeerError(f'channel {channel}: {frame!r} that belongs to no method')
            return
        message = assembly.take(channel, frame)
        if message:
            del self._assembling[channel]
            self.published.append(message)

    def expect(self, kind: type, channel: int | None = None, **fields: Any) -> Frame:
        """The next frame, which has to be of this kind; heartbeats are passed over.

        `fields` are attributes that it has to have.
        """
        while True:
            number, frame = self.next_frame(f'{kind.__name__}')
            if isinstance(frame, kind) or not isinstance(frame, heartbeat.Heartbeat):
                break
        if not isinstance(frame, kind):
            raise PeerError(f'{frame!r} on channel {number} where {kind.__name__} should come')
        if kind is commands.Channel.CloseOk:
            self._closing.discard(number)
        if channel is not None and number != channel:
            raise PeerError(f'{kind.__name__} on channel {number}, not on {channel}')
        for name, value in fields.items():
            found = getattr(frame, name)
            if found != value:
                raise PeerError(f'{kind.__name__}.{name} is {found!r}, not {value!r}')
        return frame

    def seen(self, kind: type, count: int = 1, channel: int | None = None) -> list[Frame]:
        """Wait until so many frames of a kind have come (to whichever thread reads)."""

        def found() -> list[Frame]:
            return [
                frame
                for number, frame in self.received
                if isinstance(frame, kind) and channel in (None, number)
            ]

        with self._news:
            self._news.wait_for(lambda: len(found()) >= count or self.error, self.patience)
            if len(found()) < count:
                raise PeerError(f'{len(found())} {kind.__name__} came, not {count}; {self.error}')
            return found()

    def messages(self, count: int) -> list[Published]:
        """Wait until so many messages have been published."""
        with self._news:
            self._news.wait_for(lambda: len(self.published) >= count or self.error, self.patience)
            if len(self.published) < count:
                raise PeerError(f'{len(self.published)} messages came, not {count}; {self.error}')
            return list(self.published)

    # -- a broker in miniature

    def handshake(
        self,
        *,
        heartbeat: int = 0,
        frame_max: int = 131_072,
        channel_max: int = 2047,
        mechanisms: str = 'PLAIN AMQPLAIN',
        capabilities: Mapping[str, bool] | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> Handshake:
        """Let the client in."""
        header = self.next_bytes(8)
        if header != b'AMQP\x00\x00\x09\x01':
            raise PeerError(f'the protocol header is {header!r}')
        announced = {
            'product': 'RabbitMQ',
            'version': '3.10.8',
            'capabilities': dict(CAPABILITIES if capabilities is None else capabilities),
            **(properties or {}),
        }
        self.send(0, commands.Connection.Start(0, 9, announced, mechanisms))
        start_ok = self.expect(commands.Connection.StartOk, 0)
        self.send(0, commands.Connection.Tune(channel_max, frame_max, heartbeat))
        tune_ok = self.expect(commands.Connection.TuneOk, 0)
        opened = self.expect(commands.Connection.Open, 0)
        self.send(0, commands.Connection.OpenOk())
        return Handshake(header, start_ok, tune_ok, opened)

    def serve(
        self,
        *,
        on: Mapping[type, Callable[[Wire, int, Frame], object]] | None = None,
        mute: Collection[type] = (),
        until: type | None = None,
        confirms: bool = True,
        heartbeats: bool = True,
    ) -> Frame | None:
        """Answer as a broker would, until the client is gone.

        :param on: handlers that take the place of the answer to a method.
        :param mute: methods that get no answer.
        :param until: a method upon which this returns, unanswered: the script takes over.
        :param confirms: whether messages are confirmed on channels in confirm mode.
        :param heartbeats: whether each heartbeat is answered by one.
        """
        while True:
            self._reading.wait(self.patience)
            try:
                channel, frame = self.next_frame()
            except EndOfStream:
                return None
            except PeerError:
                if self._released:
                    return None
                raise
            if until is not None and isinstance(frame, until):
                return frame
            try:
                self._answer(channel, frame, on or {}, mute, confirms, heartbeats)
            except (ConnectionError, BrokenPipeError):
                return None
            if self.closed:
                return None

    def _answer(
        self,
        channel: int,
        frame: Frame,
        on: Mapping[type, Callable[[Wire, int, Frame], object]],
        mute: Collection[type],
        confirms: bool,
        heartbeats: bool,
    ) -> None:
        kind = type(frame)
        if self._is_discarded(channel, kind):
            return
        if kind in on:
            on[kind](self, channel, frame)
        elif kind in mute:
            pass
        elif kind in REPLIES and not getattr(frame, 'nowait', False):
            self.send(channel, REPLIES[kind](frame))
        elif kind is heartbeat.Heartbeat and heartbeats:
            self.heartbeat()
        if kind is commands.Confirm.Select:
            self._confirming.setdefault(channel, 0)  # asked again, a broker counts on
        elif kind is commands.Channel.Open:
            self._confirming.pop(channel, None)
        elif kind in (ContentHeader, ContentBody) and channel not in self._assembling:
            self._confirm(channel, confirms)

    def _is_discarded(self, channel: int, kind: type) -> bool:
        """Whether a frame comes too late for a channel that we closed (specification 1.5.2.5)."""
        if channel not in self._closing:
            return False
        if kind is commands.Channel.Close:
            self.send(channel, commands.Channel.CloseOk())
        elif kind is commands.Channel.CloseOk:
            self._closing.discard(channel)
        return True

    def _confirm(self, channel: int, confirms: bool) -> None:
        if channel in self._confirming:
            self._confirming[channel] += 1
            if confirms:
                self.send(channel, commands.Basic.Ack(self._confirming[channel]))


# -- the listener


class Peer:
    """A listener on the loopback, and the scripts for the connections it accepts.

    :param rcvbuf: SO_RCVBUF of accepted sockets: a small one makes a client block soon.
    :param tls: the server's context, to speak TLS.
    """

    def __init__(
        self,
        *,
        address: str = '127.0.0.1',
        rcvbuf: int = RCVBUF,
        tls: ssl.SSLContext | None = None,
        patience: float = PATIENCE,
    ) -> None:
        family = socket.AF_INET6 if ':' in address else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        # Before listen: it limits the window that is announced.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self._listener.bind((address, 0))
        self._listener.listen(128)
        self.address = address
        self.port: int = self._listener.getsockname()[1]
        self.host = f'[{address}]:{self.port}' if ':' in address else f'{address}:{self.port}'
        self.tls = tls
        self.patience = patience
        self.wires: list[Wire] = []
        self._accepted = threading.Condition()
        self._scripts: list[Script] = []
        self._default: Script | None = None
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._wake_read, self._wake_write = os.pipe()
        self._acceptor = threading.Thread(target=self._accept, name='peer accepts', daemon=True)
        self._acceptor.start()

    def script(self, script: Script) -> Script:
        """Decorator: what to do with the next connection that has no script yet."""
        self._scripts.append(script)
        return script

    def every(self, script: Script) -> Script:
        """Decorator: what to do with all connections that have no script of their own."""
        self._default = script
        return script

    def serve(self, *, handshake: Mapping[str, Any] | None = None, **options: Any) -> None:
        """Let every client in and serve it; `options` as those of `Wire.serve`."""

        def welcome(wire: Wire) -> None:
            wire.handshake(**(handshake or {}))
            wire.serve(**options)

        self.every(welcome)

    def wire(self, number: int = 0) -> Wire:
        """The connection with this number, from 0 on; waits until it is there."""
        with self._accepted:
            if not self._accepted.wait_for(lambda: len(self.wires) > number, self.patience):
                raise PeerError(f'connection number {number} never came')
            return self.wires[number]

    def finished(self, number: int = 0) -> Wire:
        """The connection with this number, when its script has come to its end."""
        wire = self.wire(number)
        wire.wait(wire.finished, 'the end of the script')
        return wire

    def forget_finished(self) -> None:
        """Drop the connections whose scripts are over: for tests that make thousands."""
        with self._accepted:
            over = [wire for wire in self.wires if wire.finished.is_set() and not wire.error]
            self.wires = [wire for wire in self.wires if wire not in over]
        for wire in over:
            wire.dispose()
        self._threads = [thread for thread in self._threads if thread.is_alive()]

    def _accept(self) -> None:
        for number, sock in enumerate(self._incoming()):
            wire = Wire(sock, self.patience)
            script = self._scripts.pop(0) if self._scripts else self._default
            thread = threading.Thread(
                target=self._run, args=(script, wire), name=f'peer script {number}', daemon=True
            )
            with self._accepted:
                self.wires.append(wire)
                self._threads.append(thread)
                self._accepted.notify_all()
            thread.start()

    def _incoming(self) -> Iterator[socket.socket]:
        while True:
            ready, _, _ = select.select([self._listener, self._wake_read], [], [])
            if self._wake_read in ready:
                return
            yield self._listener.accept()[0]

    def _run(self, script: Script | None, wire: Wire) -> None:
        try:
            if script is None:
                raise PeerError('a connection came that no script is for')
            if self.tls is not None:
                wire.start_tls(self.tls)
            script(wire)
        except BaseException as exc:  # noqa: BLE001 (raised in the test's thread, by close)
            wire.error = exc
            if isinstance(exc, ssl.SSLError):
                wire.close()  # as any server does
        finally:
            wire.finished.set()
            with wire._news:
                wire._news.notify_all()

    def refuse(self) -> None:
        """Close the listener: further connections are refused by the kernel."""
        if self._acceptor.is_alive():
            os.write(self._wake_write, b'x')
            self._acceptor.join(self.patience)
        self._listener.close()

    def close(self) -> None:
        """End everything and raise the first error of a script. Later calls do nothing."""
        if self._closed:
            return
        self._closed = True
        self.refuse()
        for wire in self.wires:
            wire.release()
        for thread in self._threads:
            thread.join(self.patience)
        stuck = [thread.name for thread in self._threads if thread.is_alive()]
        errors = [wire.error for wire in self.wires if wire.error is not None]
        for wire in self.wires:
            wire.dispose()
        os.close(self._wake_read)
        os.close(self._wake_write)
        if errors:
            raise errors[0]
        if stuck:
            raise PeerError(f'scripts that never end: {stuck}')

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


__all__ = (
    'BODY',
    'CAPABILITIES',
    'HEADER',
    'HEARTBEAT',
    'METHOD',
    'EndOfStream',
    'Handshake',
    'Peer',
    'PeerError',
    'ProtocolHeader',
    'Published',
    'Wire',
    'content',
    'delivery',
    'marshal',
    'raw_frame',
    'raw_method',
    'split_frames',
)
