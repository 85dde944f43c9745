"""What nobody can go below: a bare socket, and bytes that were encoded before.

As much CPU as Python and the kernel take to hand the same bytes over, with one system call for each
publish, ack or request, and one for each 256 KiB that come. Nothing is looked at.
"""

from __future__ import annotations

import platform
import socket
from typing import Any

from t.benchmarks.contestant import Contestant, Run, Target, UnsupportedError
from t.benchmarks.samples import SAMPLES, Sample

RECEIVE = 1 << 18


class Floor(Contestant):
    """A socket of Python's. pamqp, which the peer uses too, encodes what is sent."""

    key = 'socket'
    title = 'a bare socket'
    module = 'pamqp'
    requirements = ('pamqp>=3.3',)

    def describe(self) -> dict[str, Any]:
        return {'version': platform.python_version(), 'build': 'of Python'}

    def connect(self, target: Target) -> socket.socket:
        """A connection with its channel 1 open; every answer comes in one piece."""
        from pamqp import commands
        from pamqp.header import ProtocolHeader

        from t.helpers.peer import marshal

        if target.virtual_host == '/':
            raise UnsupportedError  # It knows what the peer does, and no more.
        sock = socket.create_connection((target.host, target.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for channel, request in (
            (0, ProtocolHeader(0, 9, 1)),
            (0, commands.Connection.StartOk({}, 'PLAIN', '\0guest\0guest', 'en_US')),
            (0, commands.Connection.Open(target.virtual_host)),
            (1, commands.Channel.Open()),
        ):
            sock.sendall(marshal(channel, request))
            sock.recv(RECEIVE)
        return sock

    def channel(self, connection: Any) -> Any:
        raise UnsupportedError

    def publish(self, target: Target, sample: Sample) -> Run:
        sock = self.connect(target)
        message = self._message(target, sample)

        def run(count: int) -> int:
            for _ in range(count):
                sock.sendall(message)
            return count

        return run

    def _message(self, target: Target, sample: Sample) -> bytes:
        from pamqp import commands

        from t.benchmarks.peer import properties
        from t.helpers.peer import content

        publish = commands.Basic.Publish(0, '', target.queue)
        values = properties(sample.variants[0])
        return b''.join(content(1, publish, sample.body, properties=values))

    def consume(self, target: Target, sample: Sample, touch: str = '', ack: bool = False) -> Run:
        from pamqp import commands

        from t.benchmarks.peer import ACK_TAG_OFFSET, Deliveries
        from t.helpers.peer import marshal

        if touch:
            raise UnsupportedError
        sock = self.connect(target)
        length = Deliveries(sample).length
        sock.sendall(marshal(1, commands.Basic.Consume(0, target.queue, 'bench', no_ack=not ack)))
        acks = marshal(1, commands.Basic.Ack(0))
        before, after = acks[:ACK_TAG_OFFSET], acks[ACK_TAG_OFFSET + 8 :]
        buffer = bytearray(RECEIVE)
        left = tag = 0

        def run(count: int) -> int:
            nonlocal left, tag
            received = 0
            while received < count:
                whole, left = divmod(left + sock.recv_into(buffer), length)
                received += whole
                if ack:
                    for _ in range(whole):
                        tag += 1
                        sock.sendall(before + tag.to_bytes(8, 'big') + after)
            return received

        return run

    def confirm(self, target: Target, sample: Sample) -> Run:
        return self.confirm_pipelined(target, sample, 1)

    def confirm_pipelined(self, target: Target, sample: Sample, window: int) -> Run:
        from t.benchmarks.peer import acks

        message = self._message(target, sample)
        return self._exchange(target, message, window, window * len(acks(1, 1, 1)))

    def declare(self, target: Target) -> Run:
        from pamqp import commands

        from t.benchmarks.peer import reply
        from t.helpers.peer import marshal

        request = marshal(1, commands.Queue.Declare(0, target.queue, passive=True))
        return self._exchange(target, request, 1, len(reply((50, 10), 1)))

    def get(self, target: Target) -> Run:
        from pamqp import commands

        from t.benchmarks.peer import got
        from t.helpers.peer import marshal

        request = marshal(1, commands.Basic.Get(0, target.queue, no_ack=True))
        return self._exchange(target, request, 1, len(got(SAMPLES['1 KiB'], 1)))

    def _exchange(self, target: Target, request: bytes, times: int, length: int) -> Run:
        """Send a request so many times, then read an answer of this length, over and over."""
        sock = self.connect(target)
        buffer = bytearray(RECEIVE)

        def run(count: int) -> int:
            rounds = -(-count // times)
            for _ in range(rounds):
                for _ in range(times):
                    sock.sendall(request)
                left = length
                while left:
                    left -= sock.recv_into(buffer, left)
            return rounds * times

        return run
