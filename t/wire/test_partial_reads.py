"""Bytes once read are never lost: a stream cut at any byte comes out the same."""

from __future__ import annotations

import select
import signal
import socket
import ssl
import struct
import threading
from contextlib import contextmanager, suppress

import pytest
import trustme
from pamqp import commands, heartbeat

from t.helpers.peer import Peer, delivery, marshal

from .support import SOON, drain_until, poll_dry, readable

BODIES = [b'', b'one frame', b'x' * 9000]
EXCHANGE = [
    marshal(0, heartbeat.Heartbeat()),
    delivery(1, body=BODIES[0]),
    delivery(1, delivery_tag=2, body=BODIES[1]),
    marshal(1, commands.Basic.Cancel('other', nowait=True)),
    delivery(1, delivery_tag=3, body=BODIES[2], frame_max=4096),
]
RECORDED = b''.join(EXCHANGE)
#: Every byte of everything but of the long body's inside.
CUTS = [*range(1, 420), *range(420, len(RECORDED), 509), *range(len(RECORDED) - 60, len(RECORDED))]


@pytest.fixture
def consumer(peer, connect):
    """A consuming connection and what it has received."""
    peer.serve()
    connection = connect()
    return connection, consume(connection)


def consume(connection):
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg.body))
    channel.basic_consume('q', 'other', on_cancel=lambda tag: got.append(tag))
    channel.cancel_callbacks['other'] = got.append
    return got


def expected():
    return [BODIES[0], BODIES[1], 'other', BODIES[2]]


def test_poll_at_every_byte_boundary(peer, consumer):
    connection, got = consumer
    wire = peer.wire()
    on_cancel = got.append

    def between():
        readable(connection)
        poll_dry(connection)

    for cut in CUTS:
        got.clear()
        connection.channels[1].cancel_callbacks['other'] = on_cancel
        wire.replay(RECORDED, cut, between)
        drain_until(connection, lambda: len(got) >= 4)
        assert got == expected(), f'cut at {cut}'


def test_byte_by_byte(peer, consumer):
    connection, got = consumer

    def between():
        readable(connection)
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=0)

    message = delivery(1, body=b'abcdefgh', frame_max=11)
    peer.wire().dribble(message, between)
    connection.drain_events(timeout=SOON)
    assert got == [b'abcdefgh']


def test_expired_wait_at_byte_boundaries(peer, consumer):
    connection, got = consumer

    def between():
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=0.001)

    for cut in range(1, len(EXCHANGE[2])):
        got.clear()
        peer.wire().replay(EXCHANGE[2], cut, between)
        drain_until(connection, lambda: got)
        assert got == [BODIES[1]], f'cut at {cut}'


def test_reply_cut_at_every_byte(peer, connect):
    """An RPC's wait that a caller bounds can be taken up again."""
    peer.serve(mute=[commands.Queue.Declare])
    connection = connect()
    channel = connection.channel()
    reply = marshal(1, commands.Queue.DeclareOk('q', 3, 2))

    def between():
        readable(connection)
        with pytest.raises(socket.timeout):
            channel.wait((50, 11), timeout=0.001)

    for cut in range(1, len(reply)):
        peer.wire().replay(reply, cut, between)
        assert channel.wait((50, 11), timeout=SOON, returns_tuple=True) == ('q', 3, 2)


def test_signals_at_every_byte_boundary(peer, consumer):
    """EINTR, whose handler returns: the wait goes on where it was (PEP 475)."""
    connection, got = consumer
    signals = []
    before = signal.signal(signal.SIGALRM, lambda *args: signals.append(args))
    try:
        for cut in range(1, len(EXCHANGE[2])):
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            got.clear()
            peer.wire().send_raw(EXCHANGE[2][:cut])
            with pytest.raises(socket.timeout):
                connection.drain_events(timeout=0.003)
            peer.wire().send_raw(EXCHANGE[2][cut:])
            drain_until(connection, lambda: got)
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert got == [BODIES[1]], f'cut at {cut}'
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert signals


class Relay:
    """A TCP relay that holds the server's bytes back, to let them through a few at a time."""

    def __init__(self, port):
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.host = f'localhost:{self._listener.getsockname()[1]}'
        self._port = port
        self._holding = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True)]
        self._threads[0].start()

    def _run(self):
        self.client, _ = self._listener.accept()
        self.server = socket.create_connection(('127.0.0.1', self._port))
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        upwards = threading.Thread(target=self._pump, args=(self.client, self.server), daemon=True)
        self._threads.append(upwards)
        upwards.start()
        with suppress(OSError):
            while not self._holding.is_set():
                if select.select([self.server], [], [], 0.01)[0] and not self._holding.is_set():
                    self.client.sendall(self.server.recv(65536))

    def _pump(self, source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def hold(self):
        """From now on the test lets the server's bytes through."""
        self._holding.set()
        self._threads[0].join(SOON)

    def record(self):
        """The next TLS record of the server, header and all."""
        self.server.settimeout(SOON)
        header = self.server.recv(5, socket.MSG_WAITALL)
        return header + self.server.recv(struct.unpack('>H', header[3:])[0], socket.MSG_WAITALL)

    def close(self):
        self.hold()
        self.client.close()
        self.server.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SOON)
        self.server.close()
        self._listener.close()


@contextmanager
def relayed_tls():
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert('localhost').configure_cert(server)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with Peer(tls=server) as peer:
        relay = Relay(peer.port)
        yield peer, relay, context
        relay.close()


def test_tls_record_cut_at_every_byte(connect):
    """TLS wants more to read at every byte of a record: a poll expires, nothing is lost."""
    with relayed_tls() as (peer, relay, context):
        peer.serve()
        connection = connect(relay.host, ssl=context)
        got = consume(connection)
        relay.hold()
        size = None
        cut = 1
        while size is None or cut < size:
            got.clear()
            peer.wire().send_raw(EXCHANGE[2])
            record = relay.record()
            size = len(record)
            relay.client.sendall(record[:cut])
            readable(connection)
            with pytest.raises(socket.timeout):
                connection.drain_events(timeout=0)
            relay.client.sendall(record[cut:])
            connection.drain_events(timeout=SOON)
            assert got == [BODIES[1]], f'cut at {cut}'
            cut += 1
        connection.collect()


def test_several_frames_in_one_tls_record(connect):
    """What TLS has decrypted already is handled although the socket has nothing to read."""
    with relayed_tls() as (peer, relay, context):
        peer.serve()
        connection = connect(relay.host, ssl=context)
        got = consume(connection)
        peer.wire().send_raw(*[delivery(1, delivery_tag=n, body=b'%d' % n) for n in range(1, 51)])
        readable(connection)
        drain_until(connection, lambda: len(got) == 1)
        poll_dry(connection)
        assert got == [b'%d' % n for n in range(1, 51)]
        connection.collect()
