"""Nothing leaks: descriptors and objects stay flat, channel ids come back, calls stay few."""

from __future__ import annotations

import gc
import os
import socket
import threading

import pytest
from pamqp import commands

import amqp
from amqp import Message
from t.helpers.peer import delivery

from .support import LOST, SOON, drain_until, readable

OURS = (amqp.Connection, amqp.Channel, Message)


def descriptors():
    return len(os.listdir('/proc/self/fd'))


def living():
    """Objects of ours, and of what they are made of, that are still there."""
    counts = {}
    for thing in gc.get_objects():
        module = getattr(type(thing), '__module__', '')
        if isinstance(module, str) and module.split('.')[0] in ('amqp', 'vine'):
            counts[type(thing).__qualname__] = counts.get(type(thing).__qualname__, 0) + 1
        elif isinstance(thing, socket.socket):
            counts['socket'] = counts.get('socket', 0) + 1
    return counts


def grown(before, after):
    return {
        name: (before.get(name, 0), count)
        for name, count in after.items()
        if count > before.get(name, 0) + 5
    }


@pytest.fixture
def no_gc():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def eof(peer, connection, number):
    peer.wire(number).eof()
    readable(connection)
    with pytest.raises(LOST):
        connection.drain_events(timeout=SOON)


def reset(peer, connection, number):
    peer.wire(number).reset()
    readable(connection)
    with pytest.raises(LOST):
        connection.channels[1].basic_publish(Message('x'), routing_key='q')


def close(peer, connection, number):
    connection.close()


def collect(peer, connection, number):
    connection.collect()


def peers_close(peer, connection, number):
    peer.wire(number).send(0, commands.Connection.Close(320, 'CONNECTION_FORCED', 0, 0))
    with pytest.raises(amqp.ConnectionForced):
        connection.drain_events(timeout=SOON)


@pytest.mark.skipif(not os.path.exists('/proc/self/fd'), reason='needs /proc')
@pytest.mark.parametrize('end', [eof, reset, close, collect, peers_close])
def test_many_connections_leave_nothing(peer, no_gc, end):
    """200 connections of each kind, 1,000 in all, with the garbage collector off."""
    peer.serve()

    def use():
        connection = amqp.Connection(peer.host, connect_timeout=SOON, rpc_timeout=SOON)
        connection.connect()
        channel = connection.channel()
        channel.basic_consume('q', 'tag', callback=lambda msg: msg.ack)
        channel.queue_declare('q')
        end(peer, connection, 0)
        wire = peer.finished(0)
        assert not connection.connected
        assert wire.closed or wire.ended.is_set(), 'the client has not closed its socket'
        peer.forget_finished()

    for _ in range(5):
        use()
    files, things, threads = descriptors(), living(), threading.active_count()
    for _ in range(200):
        use()
    assert descriptors() <= files + 3
    assert threading.active_count() <= threads + 3
    assert not grown(things, living())


@pytest.mark.skipif(not os.path.exists('/proc/self/fd'), reason='needs /proc')
def test_failed_connects_leave_nothing(peer, no_gc):
    peer.every(lambda p: (p.next_bytes(8), p.close()))

    def use():
        connection = amqp.Connection(peer.host, connect_timeout=SOON)
        with pytest.raises((OSError, amqp.AMQPError)):
            connection.connect()
        peer.finished(0)
        peer.forget_finished()

    for _ in range(5):
        use()
    files = descriptors()
    for _ in range(100):
        use()
    assert descriptors() <= files + 3


def test_refused_connects_leave_nothing(peer, no_gc):
    peer.refuse()
    files = descriptors()
    for _ in range(100):
        with pytest.raises(OSError):
            amqp.Connection(peer.host).connect()
    assert descriptors() <= files + 1


def test_channels_leave_nothing(peer, connect, no_gc):
    """Ids come back: ten times channel_max channels, one after the other."""
    peer.serve(handshake={'channel_max': 50})
    connection = connect()

    def use():
        with connection.channel() as channel:
            channel.basic_consume('q', 'tag', callback=lambda msg: None)
            channel.events['basic_return'].add(lambda *args: None)

    for _ in range(10):
        use()
    things = living()
    for _ in range(500):
        use()
    assert not grown(things, living())
    assert len(connection.channels) == 1


def test_all_channels_at_once(peer, connect):
    peer.serve()
    connection = connect()
    channels = [connection.channel() for _ in range(2047)]
    assert len({channel.channel_id for channel in channels}) == 2047
    with pytest.raises(amqp.ConnectionError):
        connection.channel()
    channels[1000].close()
    assert connection.channel().channel_id == 1001
    connection.collect()


def test_channels_of_many_threads_have_ids_of_their_own(peer, connect):
    peer.serve()
    connection = connect()
    ids, lock = [], threading.Lock()

    def work():
        for _ in range(30):
            channel = connection.channel()
            with lock:
                assert channel.channel_id not in ids
                ids.append(channel.channel_id)
            channel.queue_purge('q')
            with lock:
                ids.remove(channel.channel_id)
            channel.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON * 3)
        assert not thread.is_alive()
    assert len(connection.channels) == 1
    assert not ids


def test_explicit_ids(peer, connect):
    peer.serve(handshake={'channel_max': 10})
    connection = connect()
    seven = connection.channel(7)
    assert seven.channel_id == 7
    assert connection.channel(7) is seven
    others = {connection.channel().channel_id for _ in range(9)}
    assert others == set(range(1, 11)) - {7}
    seven.close()
    assert connection.channel().channel_id == 7


def test_messages_leave_nothing(peer, connect, no_gc):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    count = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: count.append(1))

    def use(times):
        wanted = len(count) + times
        for _ in range(times):
            peer.wire().deliver(1, body=b'x' * 100)
            channel.basic_publish(Message('x', application_headers={'a': 1}), routing_key='q')
        drain_until(connection, lambda: len(count) >= wanted)
        channel.queue_purge('q')

    use(10)
    things = living()
    use(300)
    assert not grown(things, living())


def test_expired_polls_and_waits_leave_nothing(peer, connect, no_gc):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    with pytest.raises(TimeoutError):
        channel.wait((60, 72), timeout=0)
    things = living()
    for _ in range(300):
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0)
        with pytest.raises(TimeoutError):
            channel.wait((60, 72), timeout=0)
    assert not grown(things, living())


class Counting(socket.socket):
    """A socket that counts how often it is read."""

    reads = 0

    def recv_into(self, *args):
        type(self).reads += 1
        return super().recv_into(*args)

    def recv(self, *args):
        type(self).reads += 1
        return super().recv(*args)


def test_reads_per_message(peer, connect):
    """Many small messages come out of few system calls, not three for each frame."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(1))
    sock = connection.transport.sock
    connection.transport.sock = Counting(fileno=sock.detach())
    connection.transport.sock.setblocking(False)
    peer.wire().send_raw(delivery(1, body=b'x' * 50) * 500)
    wire = peer.wire()
    while wire.unsent():
        threading.Event().wait(0.01)
    Counting.reads = 0
    drain_until(connection, lambda: len(got) == 500)
    assert Counting.reads < 250
