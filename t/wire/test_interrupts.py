"""Exceptions of signal handlers, mid-write and mid-read: a connection is whole or broken."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest
from pamqp import commands

import amqp
import amqp.method_framing
from amqp import Message
from t.helpers.storms import Storm
from t.helpers.threads import Interrupted

from .support import SOON, drain_until

# The storms need SIGALRM for themselves, which pytest-timeout takes by default.
pytestmark = pytest.mark.timeout(120, method='thread')


def attempts(operation, count, interval):
    """Repeat an operation under a storm of signals; how often it ended, and was interrupted."""
    done = interrupted = 0
    error = None
    with Storm(interval) as storm:
        while done + interrupted < count and error is None:
            try:
                storm.call(operation)
                done += 1
            except Interrupted:
                interrupted += 1
            except amqp.RecoverableConnectionError as exc:
                error = exc
    return done, interrupted, error


@pytest.mark.parametrize('size', [10, 20_000, 2_000_000])
@pytest.mark.parametrize('round_', range(6))
def test_storm_during_publish(connect, small_window_peer, size, round_):
    """Each message arrives whole or not at all, and after half a message nothing."""
    peer = small_window_peer
    peer.serve(heartbeats=False)
    connection = connect(peer.host, rpc_timeout=SOON)
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    channel = connection.channel()
    body = b'b' * size
    done, _, error = attempts(
        lambda: channel.basic_publish(Message(body), routing_key='q'), 60, 0.0007 + round_ * 0.0003
    )
    if error is None and connection.connected:
        channel.basic_publish(Message(b'last'), routing_key='q')
        assert channel.queue_purge('q') == 0
        assert peer.wire().published[-1].body == b'last'
    else:
        with pytest.raises(amqp.RecoverableConnectionError):
            channel.basic_publish(Message(b'never'), routing_key='q')
        assert peer.wire().ended.wait(SOON)
    messages = [message.body for message in peer.wire().published]
    assert len(messages) >= done
    assert all(received in (body, b'last') for received in messages)


@pytest.mark.parametrize('round_', range(4))
def test_storm_during_requests(peer, connect, round_):
    """An interrupted request may leave a reply behind: it never answers another."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    wrong = []
    names = iter(range(1_000_000))

    def declare():
        name = f'q{next(names)}'
        declared = channel.queue_declare(name)
        if declared.queue != name:
            wrong.append((name, declared.queue))

    _, _, error = attempts(declare, 300, 0.0009 + round_ * 0.0003)
    assert not wrong
    if error is None and connection.connected:
        assert channel.queue_declare('last').queue == 'last'


@pytest.mark.parametrize('round_', range(4))
def test_storm_during_consuming(peer, connect, round_):
    """Interrupted drains lose no message, unless they break the connection, and say so."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg.body))
    total = 400

    def deliver():
        with suppress(OSError):
            for number in range(total):
                peer.wire().deliver(1, delivery_tag=number + 1, body=b'%d' % number * 50)

    sender = threading.Thread(target=deliver)
    sender.start()
    _, _, error = attempts(
        lambda: connection.drain_events(timeout=SOON), total // 2, 0.0009 + round_ * 0.0003
    )
    if error is None and connection.connected:
        # A handler's exception may end a callback, or fall just before it: that message is lost.
        sender.join(SOON)
        peer.wire().deliver(1, delivery_tag=total + 1, body=b'last')
        drain_until(connection, lambda: got and got[-1] == b'last')
        expected = [b'%d' % number * 50 for number in range(total)]
        numbers = [expected.index(body) for body in got[:-1]]
        assert numbers == sorted(set(numbers))
    connection.collect()
    sender.join(SOON)


def test_interrupted_wait_leaves_the_connection_whole(peer, connect):
    """The usual case: the exception falls into a wait for the socket."""
    peer.serve(mute=[commands.Queue.Declare])
    connection = connect()
    channel = connection.channel()
    for call in (
        lambda: connection.drain_events(timeout=SOON),
        lambda: channel.queue_declare('q'),
    ):
        with Storm(0.05) as storm, pytest.raises(Interrupted):
            storm.call(call)
        assert connection.connected
    other = connection.channel()
    assert other.queue_purge('q') == 0


def test_late_reply_to_an_interrupted_request(peer, connect):
    """The next request of its kind gets its own reply, not that of the interrupted one."""
    peer.serve(mute=[commands.Queue.Declare])
    connection = connect()
    channel = connection.channel()
    with Storm(0.05) as storm, pytest.raises(Interrupted):
        storm.call(lambda: channel.queue_declare('interrupted'))
    wire = peer.wire()
    number = wire.received[-1][0]
    wire.send(number, commands.Queue.DeclareOk('interrupted', 1, 1))

    def answer():
        wire.seen(commands.Queue.Declare, 2)
        where, frame = wire.received[-1]
        wire.send(where, commands.Queue.DeclareOk(frame.queue, 2, 2))

    thread = threading.Thread(target=answer)
    thread.start()
    assert tuple(channel.queue_declare('next')) == ('next', 2, 2)
    thread.join(SOON)


def test_keyboard_interrupt_in_a_callback(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()

    def callback(msg):
        raise KeyboardInterrupt

    channel.basic_consume('q', 'tag', no_ack=True, callback=callback)
    peer.wire().deliver(1)
    with pytest.raises(KeyboardInterrupt):
        connection.drain_events(timeout=SOON)
    assert connection.connected
    assert channel.queue_purge('q') == 0


class Trap:
    """A frame writer that is interrupted, as by a signal, just before or just after it writes."""

    def __init__(self):
        self.when = None

    def __call__(self, connection, transport):
        write = amqp.method_framing.frame_writer(connection, transport)

        def trapped(*args, **kwargs):
            when, self.when = self.when, None
            if when == 'before':
                raise Interrupted
            write(*args, **kwargs)
            if when == 'after':
                raise Interrupted

        return trapped


@pytest.mark.parametrize('when', ['before', 'after'])
def test_interrupted_write_of_a_request(peer, connect, when):
    """No ghost waits for a reply that the next request is to get, nor is a reply left over."""
    peer.serve()
    trap = Trap()
    connection = connect(frame_writer=trap, rpc_timeout=2)
    channel = connection.channel()
    trap.when = when
    with pytest.raises(Interrupted):
        channel.queue_declare('interrupted')
    if connection.connected:
        assert channel.queue_declare('next').queue == 'next'
        assert channel.queue_declare('last').queue == 'last'
    else:
        with pytest.raises(amqp.RecoverableConnectionError):
            channel.queue_declare('never')


@pytest.mark.parametrize('when', ['before', 'after'])
def test_interrupted_write_of_a_confirmed_message(peer, connect, when):
    """The numbers of confirms stay in step with what is on the wire."""
    peer.serve()
    trap = Trap()
    connection = connect(frame_writer=trap, rpc_timeout=2, confirm_publish=True)
    channel = connection.channel()
    channel.basic_publish(Message('first'))
    trap.when = when
    with pytest.raises(Interrupted):
        channel.basic_publish(Message('interrupted'))
    if connection.connected:
        for body in ('next', 'last'):
            channel.basic_publish(Message(body), confirm_timeout=2)
        assert peer.wire().messages(3)[-1].body == b'last'
    else:
        with pytest.raises(amqp.RecoverableConnectionError):
            channel.basic_publish(Message('never'))


@pytest.mark.parametrize('when', ['before', 'after'])
def test_interrupted_write_of_an_open(peer, connect, when):
    peer.serve()
    trap = Trap()
    connection = connect(frame_writer=trap, rpc_timeout=2)
    trap.when = when
    with pytest.raises(Interrupted):
        connection.channel()
    if connection.connected:
        for _ in range(3):
            assert connection.channel().queue_purge('q') == 0


@pytest.mark.parametrize('when', ['before', 'after'])
@pytest.mark.parametrize('what', ['channel', 'connection'])
def test_interrupted_write_of_a_close(peer, connect, what, when):
    peer.serve()
    trap = Trap()
    connection = connect(frame_writer=trap, rpc_timeout=2)
    channel = connection.channel()
    trap.when = when
    with pytest.raises(Interrupted):
        (channel if what == 'channel' else connection).close()
    if what == 'connection':
        assert not connection.connected
    elif connection.connected:
        assert connection.channel().queue_purge('q') == 0
