"""A peer that costs the client nothing but its own work: pre-encoded bytes over the loopback.

It's a process of its own, `python -m t.benchmarks.peer`, which prints its port and ends with its
standard input. What it does on a connection is the connection's virtual host, a `Script`:

* it answers methods with canned replies, and publishes with confirms, a window of them at once;
* with `sink` it reads and throws away what comes after the channel is open;
* once there is a consumer it sends it one delivery after the other, many with each system call, and
  throws away what comes; with `prefetch`, no more of them than that ahead of the acks, nor than
  the client asks for.

Frames are built by pamqp: nothing is shared with the clients that are measured.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from itertools import cycle, islice
from json import dumps, loads
from pathlib import Path
from typing import Any

from pamqp import commands

from t.benchmarks.samples import SAMPLES, Sample
from t.helpers.peer import CAPABILITIES, content, delivery, marshal

ROOT = Path(__file__).resolve().parents[2]
HOST = '127.0.0.1'
QUEUE = TAG = 'bench'
FRAME_MAX = 131_072
#: As much is sent at once, in whole deliveries.
CHUNK = 1 << 18
#: Octets that a sink reads in one burst.
BURST = 1 << 19
#: What the kernel holds for this process, at a start: little, so that the rest waits at the sender.
#: Where large messages come it's more.
BUFFER, LARGE_BUFFER = 1 << 13, 1 << 16
#: Seconds between two bursts, at least and at most.
PAUSES = (0.0002, 0.05)

FRAME = struct.Struct('>BHI')
METHOD, BODY = 1, 3
#: Where a delivery has its tag: after frame header, method and consumer tag.
TAG_OFFSET = FRAME.size + 4 + 1 + len(TAG)

#: basic.ack: header, method, tag, a bit, end.
ACK_LENGTH = FRAME.size + 4 + 8 + 1 + 1
ACK_TAG_OFFSET = FRAME.size + 4

Sig = tuple[int, int]
START_OK, TUNE_OK, OPEN, CLOSE = (10, 11), (10, 31), (10, 40), (10, 50)
CHANNEL_OPEN, QOS, CONSUME, GET = (20, 10), (60, 10), (60, 20), (60, 70)


@dataclass(frozen=True)
class Script:
    """What the peer does on a connection.

    `sample` is what it delivers, `limit` times (0: for ever). `window` is how many publishes it
    lets come before it confirms each of them.
    """

    sink: bool = False
    sample: str = '16 B'
    limit: int = 0
    window: int = 0
    prefetch: int = 0

    def encode(self) -> str:
        return dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Script:
        return cls(**loads(text))


@cache
def reply(sig: Sig, channel: int) -> bytes:
    """The canned answer to a method; nothing where none is due."""
    replies: dict[Sig, Any] = {
        START_OK: commands.Connection.Tune(2047, FRAME_MAX, 60),
        OPEN: commands.Connection.OpenOk(),
        CLOSE: commands.Connection.CloseOk(),
        CHANNEL_OPEN: commands.Channel.OpenOk(),
        (20, 40): commands.Channel.CloseOk(),
        (50, 10): commands.Queue.DeclareOk(QUEUE, 0, 0),
        QOS: commands.Basic.QosOk(),
        (85, 10): commands.Confirm.SelectOk(),
        CONSUME: commands.Basic.ConsumeOk(TAG),
    }
    return marshal(channel, replies[sig]) if sig in replies else b''


@cache
def got(sample: Sample, channel: int) -> bytes:
    """The answer to basic.get."""
    method = commands.Basic.GetOk(1, False, '', QUEUE, 0)
    parts = content(channel, method, sample.body, properties=properties(sample.variants[0]))
    return b''.join(parts)


def properties(values: dict[str, Any]) -> commands.Basic.Properties:
    names = {'application_headers': 'headers'}
    return commands.Basic.Properties(**{names.get(name, name): values[name] for name in values})


def acks(first: int, count: int, channel: int) -> bytes:
    return marshal(channel, *(commands.Basic.Ack(tag) for tag in range(first, first + count)))


class Deliveries:
    """A run of deliveries as one block of bytes, whose tags can be set to what comes next."""

    def __init__(self, sample: Sample, channel: int = 1, limit: int = 0) -> None:
        length = len(self._delivery(sample, sample.variants[0], channel))
        self.count = limit or max(1, CHUNK // length)
        deliveries = [
            self._delivery(sample, values, channel)
            for values in islice(cycle(sample.variants), self.count)
        ]
        assert {len(each) for each in deliveries} == {length}
        self.length = length
        #: The last tag that was given.
        self.last = 0
        self.block = bytearray().join(deliveries)

    @staticmethod
    def _delivery(sample: Sample, values: dict[str, Any], channel: int) -> bytes:
        return delivery(
            channel,
            TAG,
            body=sample.body,
            routing_key=QUEUE,
            frame_max=FRAME_MAX,
            properties=properties(values),
        )

    def following(self) -> bytearray:
        """The block with the tags that come next: set octet by octet, in all at once."""
        tags = array('Q', range(self.last + 1, self.last + 1 + self.count))
        self.last += self.count
        if sys.byteorder == 'little':
            tags.byteswap()
        octets = tags.tobytes()
        for place in range(8):
            self.block[TAG_OFFSET + place :: self.length] = octets[place::8]
        return self.block


class Session(threading.Thread):
    """One connection, served until the client closes it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(daemon=True)
        self.sock = sock
        self.script = Script()
        self.prefetch = 0
        self.replies = bytearray()
        self.published = self.confirmed = 0
        #: Octets that have been dealt with since the last confirms, and that come at once.
        self.answered = self.burst = 0

    def run(self) -> None:
        with self.sock, suppress(OSError):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock.recv(8, socket.MSG_WAITALL)
            self.sock.sendall(marshal(0, start()))
            self._converse()

    def _converse(self) -> None:
        """Answer frame by frame, all that have come with one send, until the bytes don't matter."""
        received = bytearray()
        for part in self._parts():
            received += part
            offset = 0
            for kind, channel, begin, end in frames(received):
                offset = end + 1
                self._answer(kind, channel, received[begin:end])
            self.answered += offset
            del received[:offset]
            self._flush()

    def _answer(self, kind: int, channel: int, payload: bytearray) -> None:
        if kind == METHOD:
            self._answer_method(struct.unpack_from('>HH', payload), channel, payload)
        elif kind == BODY and self.script.window:
            self._count_publish(channel)

    def _answer_method(self, sig: Sig, channel: int, payload: bytearray) -> None:
        if sig == OPEN:
            self.script = Script.decode(virtual_host(payload))
            if SAMPLES[self.script.sample].size > BUFFER:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LARGE_BUFFER)
        if sig == QOS and self.script.prefetch:
            [self.prefetch] = struct.unpack_from('>H', payload, 8)
        if sig == GET:
            self.replies += got(SAMPLES[self.script.sample], channel)
        self.replies += reply(sig, channel)
        if sig == CHANNEL_OPEN and self.script.sink:
            self._flush()
            self._sink()
        elif sig == CONSUME:
            self._flush()
            self._serve_consumer(channel)

    def _count_publish(self, channel: int) -> None:
        # Each sample that is confirmed has a body of one frame.
        self.published += 1
        if self.published - self.confirmed == self.script.window:
            self.replies += acks(self.confirmed + 1, self.script.window, channel)
            self.confirmed = self.published
            if self.script.window > 1:
                self.burst, self.answered = self.answered, 0

    def _flush(self) -> None:
        if self.replies:
            self.sock.sendall(self.replies)
            self.replies.clear()

    def _serve_consumer(self, channel: int) -> None:
        # A thread that sends beside one that reads: whoever does both in turn may stand still, as
        # the client does that cannot send before somebody reads.
        ahead = threading.Semaphore(2)
        half = (self.prefetch or self.script.prefetch) // 2
        deliveries = Deliveries(SAMPLES[self.script.sample], channel, half or self.script.limit)
        arguments = (deliveries, ahead if half else None)
        threading.Thread(target=self._deliver, args=arguments, daemon=True).start()
        if not half:
            self._sink()
            return
        try:
            self._count_acks(half, ahead)
        finally:
            # The socket is closed: the other thread finds out when it sends.
            ahead.release()

    def _parts(self) -> Iterator[memoryview]:
        """What comes; where there is a size of `burst`, after waits in which about as much comes.

        Over the loopback the sender's CPU does the receiver's work too, for each segment: three
        times what it costs to hand a small message to the kernel. So the window is kept shut most
        of the time. What is sent then waits in the sender's kernel, and is carried over many at a
        time, by this process's CPU.
        """
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        buffer = memoryview(bytearray(1 << 20))
        least, most = PAUSES
        pause = least
        while poll.poll():
            if self.burst:
                time.sleep(pause)
            total = 0
            with suppress(BlockingIOError):
                while total <= self.burst:
                    count = self.sock.recv_into(buffer, 0, socket.MSG_DONTWAIT)
                    if not count:
                        return
                    total += count
                    yield buffer[:count]
            change = 0.9 * self.burst / max(1, total)
            pause = min(most, max(least, pause * min(2, max(0.5, change))))

    def _sink(self) -> None:
        self.burst = BURST
        for _ in self._parts():
            pass

    def _deliver(self, deliveries: Deliveries, ahead: threading.Semaphore | None) -> None:
        with suppress(OSError):
            while True:
                if ahead is not None:
                    ahead.acquire()
                self.sock.sendall(deliveries.following())
                if self.script.limit:
                    return

    def _count_acks(self, half: int, ahead: threading.Semaphore) -> None:
        """Let another half of the prefetch go where no more than half is unacknowledged."""
        received = bytearray()
        allowed, acked = 2 * half, 0
        self.burst = half * ACK_LENGTH
        for part in self._parts():
            received += part
            if whole := len(received) // ACK_LENGTH * ACK_LENGTH:
                place = whole - ACK_LENGTH + ACK_TAG_OFFSET
                acked = int.from_bytes(received[place : place + 8], 'big')
                del received[:whole]
            while allowed - acked <= half:
                allowed += half
                ahead.release()


def start() -> commands.Connection.Start:
    server = {'product': 'RabbitMQ', 'version': '4.0.0', 'capabilities': CAPABILITIES}
    return commands.Connection.Start(0, 9, server, 'PLAIN AMQPLAIN', 'en_US')


def virtual_host(payload: bytearray) -> str:
    """Of connection.open, whose first argument it is."""
    return payload[5 : 5 + payload[4]].decode()


def frames(received: bytearray) -> Iterator[tuple[int, int, int, int]]:
    """Each whole frame: its type, its channel, and where its payload begins and ends."""
    offset = 0
    while len(received) - offset >= FRAME.size:
        kind, channel, size = FRAME.unpack_from(received, offset)
        begin = offset + FRAME.size
        offset = begin + size + 1
        if len(received) < offset:
            return
        yield kind, channel, begin, offset - 1


def serve() -> None:
    """Serve until the standard input ends, as it does with the process that started this one."""
    with socket.create_server((HOST, 0), backlog=512) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=_accept, args=(listener,), daemon=True).start()
        sys.stdin.buffer.read()
        os._exit(0)


def _accept(listener: socket.socket) -> None:
    while True:
        Session(listener.accept()[0]).start()


class PeerProcess:
    """The peer, started and stopped: a context manager."""

    def __enter__(self) -> PeerProcess:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, '-m', 't.benchmarks.peer'],
            cwd=ROOT,
            # Without what keeps that folder from being looked in.
            env={name: os.environ[name] for name in os.environ if name != 'PYTHONSAFEPATH'},
            stdin=pipe,
            stdout=pipe,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.communicate(timeout=10)


if __name__ == '__main__':
    serve()
