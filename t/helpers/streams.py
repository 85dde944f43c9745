"""Transports over real sockets, and sockets that do what a script says."""

from __future__ import annotations

import select
import socket
import struct
import time
from typing import Any

from amqp.deadline import Deadline
from amqp.transport import TCPTransport
from t.helpers.threads import SOON

NOW = Deadline(0, 0.0)


def soon() -> Deadline:
    """For what should be over at once."""
    return Deadline(SOON, time.monotonic())


def within(seconds: float) -> Deadline:
    """So many seconds from now."""
    return Deadline(seconds, time.monotonic())


def encode(kind: int, channel: int, payload: bytes) -> bytes:
    """A frame."""
    return struct.pack('>BHI', kind, channel, len(payload)) + payload + b'\xce'


def readable(sock: socket.socket) -> bool:
    """Whether there is anything to read, as an event loop sees it."""
    return bool(select.select([sock], [], [], 0)[0])


class Stream:
    """A transport on one end of a socket pair, the peer on the other."""

    def __init__(self, cls: type[Any] = TCPTransport, **options: Any) -> None:
        self.transport: Any = cls('localhost', **options)
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.transport.sock = ours
        self.transport.connected = True

    def close(self) -> None:
        """Close both ends."""
        self.transport.close()
        self.peer.close()

    def fill(self) -> None:
        """Have the kernel take no more of ours."""
        self.transport.sock.setblocking(False)
        try:
            while True:
                self.transport.sock.send(b'x' * 65536)
        except BlockingIOError:
            pass


def port_of(listening: socket.socket) -> int:
    """Where it listens."""
    port: int = listening.getsockname()[1]
    return port


def host_of(listening: socket.socket) -> str:
    """The host and port to connect to."""
    return f'127.0.0.1:{port_of(listening)}'


class FakeSocket(socket.socket):
    """Does what its script says, one step for each call; then as the real one that it replaces."""

    def __init__(self, real: socket.socket, **scripts: list[Any]) -> None:
        super().__init__(fileno=real.detach())
        self.setblocking(False)
        self.scripts = {name: list(steps) for name, steps in scripts.items()}
        self.calls: list[Any] = []

    def _call(self, name: str, *args: Any) -> Any:
        self.calls.append((name, args))
        steps = self.scripts.get(name)
        if not steps:
            return getattr(super(), name)(*args)
        step = steps.pop(0)
        if isinstance(step, (BaseException, type)):
            raise step
        return step(super(), *args)

    def recv_into(self, *args: Any) -> Any:
        return self._call('recv_into', *args)

    def send(self, *args: Any) -> Any:
        return self._call('send', *args)

    def sendmsg(self, *args: Any) -> Any:
        return self._call('sendmsg', *args)


def fake(stream: Stream, **scripts: list[Any]) -> FakeSocket:
    """Put such a socket in the place of the stream's."""
    made = FakeSocket(stream.transport.sock, **scripts)
    stream.transport.sock = made
    return made


def received(stream: Stream, size: int) -> bytes:
    """So many octets that the peer got."""
    found = b''
    stream.peer.settimeout(SOON)
    while len(found) < size:
        found += stream.peer.recv(1 << 20)
    return found
