"""A broker that takes no messages: by connection.blocked, by channel.flow, by not reading."""

from __future__ import annotations

import socket

import pytest
from pamqp import commands

import amqp
from amqp import Message

from .support import LOST, SOON, Background, drain_until, ends_within, readable

REASON = 'low on memory'


@pytest.fixture
def stalling(small_window_peer, connect):
    """A channel to a peer that has stopped reading, with little room for what is under way."""
    small_window_peer.serve()

    def make(**options):
        connection = connect(small_window_peer.host, **options)
        channel = connection.channel()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        small_window_peer.wire().pause()
        return connection, channel, small_window_peer.wire()

    return make


def fill(channel, timeout=0.05):
    """Publish until nothing fits any more; the number of messages that went out."""
    count = 0
    while True:
        try:
            channel.basic_publish(Message(b'm' * 100), routing_key='fill', timeout=timeout)
        except TimeoutError:
            return count
        count += 1


def test_callbacks_get_the_reason(peer, connect):
    peer.serve()
    calls = []
    connection = connect(
        on_blocked=lambda reason: calls.append(reason),
        on_unblocked=lambda: calls.append('unblocked'),
    )
    wire = peer.wire()
    wire.send(0, commands.Connection.Blocked(REASON))
    connection.drain_events(timeout=SOON)
    wire.send(0, commands.Connection.Unblocked())
    connection.drain_events(timeout=SOON)
    assert calls == [REASON, 'unblocked']


def test_publish_while_blocked_ends_in_time(peer, connect):
    peer.serve()
    connection = connect(blocked_timeout=0.2)
    channel = connection.channel()
    peer.wire().send(0, commands.Connection.Blocked(REASON))
    readable(connection)
    with ends_within(SOON), pytest.raises(amqp.Blocked, match=REASON):
        channel.basic_publish(Message('x'), routing_key='q')
    assert connection.connected
    assert not peer.wire().published
    peer.wire().send(0, commands.Connection.Unblocked())
    readable(connection)
    channel.basic_publish(Message('y'), routing_key='q')
    assert [message.body for message in peer.wire().messages(1)] == [b'y']


def test_publish_goes_on_when_unblocked(peer, connect):
    """A client that only publishes still learns of both: it looks before it publishes."""
    peer.serve()
    reasons = []
    connection = connect(blocked_timeout=60, on_blocked=reasons.append)
    channel = connection.channel()
    wire = peer.wire()
    wire.send(0, commands.Connection.Blocked(REASON))
    readable(connection)
    call = Background(channel.basic_publish, Message('x'), routing_key='q')
    connection.send_heartbeat()
    assert not call.done
    wire.send(0, commands.Connection.Unblocked())
    call.result()
    assert wire.messages(1)[0].body == b'x'


def test_publish_timeout_is_the_callers_also_while_blocked(peer, connect):
    peer.serve()
    connection = connect(blocked_timeout=60)
    channel = connection.channel()
    peer.wire().send(0, commands.Connection.Blocked(REASON))
    readable(connection)
    with ends_within(SOON), pytest.raises(socket.timeout):
        channel.basic_publish(Message('x'), routing_key='q', timeout=0.1)
    assert connection.connected


def test_loss_ends_a_blocked_publish(peer, connect):
    peer.serve()
    connection = connect(blocked_timeout=60)
    channel = connection.channel()
    wire = peer.wire()
    wire.send(0, commands.Connection.Blocked(REASON))
    readable(connection)
    call = Background(channel.basic_publish, Message('x'), routing_key='q')
    wire.eof()
    assert isinstance(call.error(), LOST)


def test_consuming_goes_on_while_blocked(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', callback=got.append)
    peer.wire().send(0, commands.Connection.Blocked(REASON))
    peer.wire().deliver(1)
    drain_until(connection, lambda: got)
    channel.basic_ack(1)
    peer.wire().seen(commands.Basic.Ack)
    assert channel.queue_purge('q') == 0


def test_close_while_blocked(peer, connect):
    peer.serve()
    connection = connect()
    connection.channel()
    peer.wire().send(0, commands.Connection.Blocked(REASON))
    readable(connection)
    with ends_within(SOON):
        connection.close()


def test_channel_flow_stops_one_channel(peer, connect):
    peer.serve()
    connection = connect(blocked_timeout=0.2)
    stopped, other = connection.channel(), connection.channel()
    wire = peer.wire()
    wire.send(1, commands.Channel.Flow(False))
    readable(connection)
    with ends_within(SOON), pytest.raises(amqp.Blocked):
        stopped.basic_publish(Message('x'), routing_key='q')
    assert wire.seen(commands.Channel.FlowOk)[0].active is False
    other.basic_publish(Message('y'), routing_key='q')
    wire.send(1, commands.Channel.Flow(True))
    readable(connection)
    stopped.basic_publish(Message('z'), routing_key='q')
    assert [message.body for message in wire.messages(2)] == [b'y', b'z']


def test_publish_timeout_before_anything_is_sent_leaves_all_whole(stalling):
    """The peer reads nothing: the publish expires; later no byte of it is on the wire."""
    connection, channel, wire = stalling()
    count = fill(channel)
    with ends_within(SOON), pytest.raises(socket.timeout):
        channel.basic_publish(Message(b'never'), routing_key='q', timeout=0.05)
    assert connection.connected
    wire.resume()
    channel.basic_publish(Message(b'after'), routing_key='q', timeout=SOON)
    bodies = [message.body for message in wire.messages(count + 1)]
    assert bodies == [b'm' * 100] * count + [b'after']


def test_publish_timeout_inside_a_message_breaks_the_connection(stalling):
    """Half a message is out: nothing may follow it, so the connection is over."""
    connection, channel, wire = stalling()
    with ends_within(SOON), pytest.raises(LOST):
        channel.basic_publish(Message(b'x' * 8_000_000), routing_key='q', timeout=0.2)
    assert not connection.connected
    with pytest.raises(LOST):
        channel.basic_publish(Message(b'y'), routing_key='q', timeout=0.2)
    wire.resume()
    assert wire.ended.wait(SOON)
    assert not wire.published


def test_write_timeout_bounds_a_publish(stalling):
    _, channel, _ = stalling(write_timeout=0.2)
    with ends_within(SOON), pytest.raises((LOST, TimeoutError)):
        channel.basic_publish(Message(b'x' * 8_000_000), routing_key='q')


@pytest.mark.parametrize('how', ['empty', 'full', 'half a message'])
def test_close_of_a_stalled_connection_ends_in_time(stalling, how):
    connection, channel, _ = stalling(rpc_timeout=0.5)
    if how == 'full':
        fill(channel)
    elif how == 'half a message':
        with pytest.raises(LOST):
            channel.basic_publish(Message(b'x' * 8_000_000), routing_key='q', timeout=0.2)
    with ends_within(SOON):
        try:
            connection.close()
        except (amqp.AMQPError, OSError):
            pass
    assert not connection.connected


def test_rpc_on_a_stalled_connection_ends_in_time(stalling):
    _, channel, _ = stalling(rpc_timeout=0.5)
    fill(channel)
    with ends_within(SOON), pytest.raises(amqp.AMQPError):
        channel.queue_declare('q')


def test_acks_of_other_threads_end_in_time_too(stalling):
    """One thread is stuck in a large publish; the other's ack doesn't wait for ever."""
    connection, channel, _ = stalling(rpc_timeout=0.5)
    publish = Background(channel.basic_publish, Message(b'x' * 8_000_000), routing_key='q')
    with ends_within(SOON):
        try:
            for tag in range(1, 100_000):
                channel.basic_ack(tag)
        except (amqp.AMQPError, OSError):
            pass
        assert isinstance(publish.error(), LOST)
    assert not connection.connected


def test_slow_reader_gets_everything_in_order(small_window_peer, connect):
    """A peer that stops and goes on: writes wait, nothing is lost or torn."""
    small_window_peer.serve()
    connection = connect(small_window_peer.host)
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    channels = [connection.channel() for _ in range(4)]
    wire = small_window_peer.wire()
    wire.pause()

    def publish(number):
        for count in range(20):
            channels[number].basic_publish(Message(b'%d' % number * (count * 997)), '', 'q')

    calls = [Background(publish, number) for number in range(4)]
    wire.resume()
    for call in calls:
        call.result()
    messages = wire.messages(80)
    for number in range(4):
        mine = [message for message in messages if message.channel == number + 1]
        assert [message.body for message in mine] == [
            b'%d' % number * (count * 997) for count in range(20)
        ]


@pytest.mark.parametrize('what', ['channel close', 'flow', 'cancel', 'connection close'])
def test_answers_that_cannot_be_written_do_not_hold_up_a_drain(stalling, what):
    """The peer reads nothing, yet speaks: to answer it must not take longer than the drain may."""
    connection, channel, wire = stalling(rpc_timeout=60)
    channel.basic_consume('q', 'tag', nowait=True)
    fill(channel)
    frame = {
        'channel close': (1, commands.Channel.Close(404, 'NOT_FOUND', 60, 40)),
        'flow': (1, commands.Channel.Flow(True)),
        'cancel': (1, commands.Basic.Cancel('tag', nowait=False)),
        'connection close': (0, commands.Connection.Close(320, 'CONNECTION_FORCED', 0, 0)),
    }[what]
    wire.send(*frame)
    readable(connection)
    call = Background(connection.drain_events, timeout=0.5)
    assert isinstance(call.error(), (amqp.AMQPError, TimeoutError, type(None)))
