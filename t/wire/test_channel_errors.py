"""An error closes one channel, not the connection; the same channel object is used again."""

from __future__ import annotations

import socket
import threading

import pytest
from pamqp import commands

import amqp
from amqp import Message
from t.helpers.threads import until

from .support import SOON, Background, drain_until, ends_within, readable

TIMED_OUT = 'PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out'


def closing(code, text, sig=(50, 10)):
    """A handler that closes the channel instead of answering."""
    return lambda p, channel, frame: p.send(channel, commands.Channel.Close(code, text, *sig))


@pytest.mark.parametrize(
    ('code', 'error'),
    [
        (311, amqp.ContentTooLarge),
        (313, amqp.NoConsumers),
        (403, amqp.AccessRefused),
        (404, amqp.NotFound),
        (405, amqp.ResourceLocked),
        (406, amqp.PreconditionFailed),
        (599, amqp.ChannelError),
    ],
)
def test_error_instead_of_a_reply(peer, connect, code, error):
    peer.serve(on={commands.Queue.Declare: closing(code, 'the reason')})
    connection = connect()
    channel = connection.channel()
    with pytest.raises(error, match='the reason') as caught:
        channel.queue_declare('q')
    assert type(caught.value) is error
    assert isinstance(caught.value, amqp.ChannelError)
    assert caught.value.reply_code == code
    assert caught.value.reply_text == 'the reason'
    assert caught.value.method_sig == (50, 10)
    assert caught.value.method_name == 'Queue.declare'
    peer.wire().seen(commands.Channel.CloseOk)
    assert connection.connected


def test_same_object_is_opened_again_by_its_next_use(peer, connect):
    peer.serve(on={commands.Queue.Declare: closing(404, 'NOT_FOUND')})
    channel = connect().channel()
    for _ in range(3):
        with pytest.raises(amqp.NotFound):
            channel.queue_declare('q', passive=True)
    assert len(peer.wire().seen(commands.Channel.Open, 3)) == 3
    assert channel.queue_purge('q') == 0
    assert len(peer.wire().seen(commands.Channel.Open, 4)) == 4
    assert {number for number, _ in peer.wire().received if number} == {channel.channel_id}


def test_nothing_is_opened_until_then(peer, connect):
    peer.serve(on={commands.Queue.Declare: closing(404, 'NOT_FOUND')})
    connection = connect()
    channel = connection.channel()
    with pytest.raises(amqp.NotFound):
        channel.queue_declare('q')
    with pytest.raises(socket.timeout):
        connection.drain_events(timeout=0.05)
    assert not channel.is_open
    connection.send_heartbeat()
    assert len(peer.wire().seen(commands.Channel.Open)) == 1


def test_error_without_a_waiter_is_raised_by_drain(peer, connect):
    peer.serve()
    connection = connect()
    connection.channel()
    peer.wire().send(1, commands.Channel.Close(406, TIMED_OUT, 0, 0))
    with pytest.raises(amqp.PreconditionFailed, match='acknowledgement'):
        connection.drain_events(timeout=SOON)
    with pytest.raises(socket.timeout):
        connection.drain_events(timeout=0)


def test_consumer_timeout_concerns_one_channel(peer, connect):
    """406 for an ack that came too late: the other channels go on, and so does this one."""
    peer.serve()
    connection = connect()
    late, other = connection.channel(), connection.channel()
    got = []
    for channel in (late, other):
        channel.basic_consume('q', 'tag', callback=got.append)
    wire = peer.wire()
    wire.deliver(1, delivery_tag=5, body=b'late')
    drain_until(connection, lambda: got)
    wire.send(1, commands.Channel.Close(406, TIMED_OUT, 0, 0))
    readable(connection)
    with pytest.raises(amqp.PreconditionFailed):
        connection.drain_events(timeout=SOON)
    wire.deliver(2, delivery_tag=1, body=b'other')
    drain_until(connection, lambda: len(got) == 2)
    other.basic_ack(1)
    wire.seen(commands.Basic.Ack, 1, channel=2)
    with pytest.raises(amqp.ChannelError):
        late.basic_ack(5)
    late.basic_consume('q', 'again', callback=got.append)
    wire.deliver(1, 'again', body=b'again')
    drain_until(connection, lambda: len(got) == 3)
    assert not [
        frame
        for number, frame in wire.received
        if number == 1 and isinstance(frame, commands.Basic.Ack)
    ]


def test_stale_delivery_tag_never_reaches_a_reopened_channel(peer, connect):
    """It would be an unknown tag there, and close the channel again, or worse: another's tag."""
    peer.serve(on={commands.Queue.Declare: closing(404, 'NOT_FOUND')})
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', callback=got.append)
    peer.wire().deliver(1, delivery_tag=1)
    drain_until(connection, lambda: got)
    with pytest.raises(amqp.NotFound):
        channel.queue_declare('missing')
    for acknowledge in (channel.basic_ack, channel.basic_nack):
        with pytest.raises(amqp.ChannelError):
            acknowledge(1)
    with pytest.raises(amqp.ChannelError):
        channel.basic_reject(1, requeue=True)
    assert connection.connected


def test_error_reaches_the_thread_that_waits_on_that_channel(peer, connect):
    """Another thread drains, and a third waits on another channel: neither gets it."""
    peer.serve(mute=[commands.Queue.Declare])
    connection = connect()
    one, two = connection.channel(), connection.channel()
    drain = Background(connection.drain_events, timeout=SOON)
    first = Background(one.queue_declare, 'one')
    second = Background(two.queue_declare, 'two')
    wire = peer.wire()
    wire.seen(commands.Queue.Declare, 2)
    wire.send(1, commands.Channel.Close(404, 'NOT_FOUND', 50, 10))
    assert isinstance(first.error(), amqp.NotFound)
    assert not second.done
    wire.send(2, commands.Queue.DeclareOk('two', 0, 0))
    assert second.result().queue == 'two'
    connection.collect()  # the drain goes on for ever where others have read all that came
    assert not isinstance(drain.error(), amqp.ChannelError)


def test_all_waiters_of_the_channel_get_it(peer, connect):
    peer.serve(mute=[commands.Queue.Declare, commands.Queue.Purge])
    channel = connect().channel()
    calls = [Background(channel.queue_declare, 'q'), Background(channel.queue_purge, 'q')]
    wire = peer.wire()
    wire.seen(commands.Queue.Declare)
    wire.seen(commands.Queue.Purge)
    wire.send(1, commands.Channel.Close(405, 'RESOURCE_LOCKED', 50, 10))
    assert [type(call.error()) for call in calls] == [amqp.ResourceLocked] * 2


def test_error_inside_a_callback_reaches_the_callback(peer, connect):
    peer.serve(on={commands.Queue.Declare: closing(404, 'NOT_FOUND')})
    connection = connect()
    channel = connection.channel()
    errors = []

    def callback(msg):
        try:
            msg.channel.queue_declare('missing')
        except amqp.NotFound as exc:
            errors.append(exc)

    channel.basic_consume('q', 'tag', no_ack=True, callback=callback)
    peer.wire().deliver(1)
    connection.drain_events(timeout=SOON)
    assert len(errors) == 1
    assert channel.queue_purge('q') == 0


def test_consumers_are_forgotten_with_the_channel(peer, connect):
    peer.serve(on={commands.Queue.Declare: closing(404, 'NOT_FOUND')})
    channel = connect().channel()
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: None)
    assert 'tag' in channel.no_ack_consumers
    with pytest.raises(amqp.NotFound):
        channel.queue_declare('missing')
    assert not channel.callbacks
    assert not channel.no_ack_consumers
    channel.basic_cancel('tag')


def test_failed_consume_leaves_no_trace(peer, connect):
    peer.serve(on={commands.Basic.Consume: closing(403, 'ACCESS_REFUSED', (60, 20))})
    channel = connect().channel()
    with pytest.raises(amqp.AccessRefused):
        channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: None)
    assert not channel.callbacks
    assert not channel.no_ack_consumers


def test_server_cancel_with_a_callback(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    cancelled = []
    channel.basic_consume('q', 'tag', on_cancel=cancelled.append, no_ack=True)
    peer.wire().send(1, commands.Basic.Cancel('tag', nowait=True))
    connection.drain_events(timeout=SOON)
    assert cancelled == ['tag']
    assert 'tag' not in channel.callbacks
    assert 'tag' not in channel.no_ack_consumers
    assert channel.queue_purge('q') == 0


def test_server_cancel_without_a_callback(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True)
    channel.basic_consume('r', 'kept', no_ack=True, callback=got.append)
    peer.wire().send(1, commands.Basic.Cancel('tag', nowait=True))
    with pytest.raises(amqp.ConsumerCancelled, match='tag'):
        connection.drain_events(timeout=SOON)
    assert connection.connected
    peer.wire().deliver(1, 'kept')
    connection.drain_events(timeout=SOON)
    assert len(got) == 1
    assert channel.queue_purge('q') == 0


def test_server_cancel_is_announced_as_a_capability(peer, connect):
    peer.serve()
    connect()
    [start_ok] = peer.wire().seen(commands.Connection.StartOk)
    assert start_ok.client_properties['capabilities']['consumer_cancel_notify'] is True


def test_server_cancel_during_a_wait_is_not_lost(peer, connect):
    """It comes while an RPC waits: the reply goes to the RPC, the cancel to the next drain."""

    def declare(p, channel, frame):
        p.send(channel, commands.Basic.Cancel('tag', nowait=True))
        p.send(channel, commands.Queue.DeclareOk('q', 0, 0))

    peer.serve(on={commands.Queue.Declare: declare})
    connection = connect()
    channel = connection.channel()
    channel.basic_consume('q', 'tag', no_ack=True)
    assert channel.queue_declare('q').queue == 'q'
    with pytest.raises(amqp.ConsumerCancelled):
        connection.drain_events(timeout=SOON)
    assert connection.connected


def test_publishers_of_other_channels_go_on(peer, connect):
    """Threads publish on their own channels while one channel is closed again and again."""
    peer.serve(on={commands.Queue.Declare: closing(404, 'NOT_FOUND')})
    connection = connect()
    # Or what the kernel takes from the publisher keeps the peer busy for long.
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
    failing, healthy = connection.channel(), connection.channel()
    stop = threading.Event()

    def publish():
        count = 0
        while not stop.is_set():
            healthy.basic_publish(Message(b'x' * 100), routing_key='q')
            count += 1
        return count

    background = Background(publish)
    try:
        for _ in range(20):
            with pytest.raises(amqp.NotFound):
                failing.queue_declare('missing')
    finally:
        stop.set()
    assert len(peer.wire().messages(background.result())) > 0


NO_EXCHANGE = commands.Channel.Close(404, 'NOT_FOUND - no exchange', 60, 40)


@pytest.mark.parametrize('timeout', [0, SOON, None])
def test_an_error_that_a_call_on_another_channel_has_read(peer, connect, timeout):
    """Not that call's to raise: the next drain does, without waiting for anything."""

    def declare(wire, channel, frame):
        wire.send(1, NO_EXCHANGE)
        wire.send(channel, commands.Queue.DeclareOk(frame.queue, 0, 0))

    peer.serve(on={commands.Queue.Declare: declare})
    connection = connect()
    closed, other = connection.channel(), connection.channel()
    assert other.queue_declare('q').queue == 'q'
    assert not closed.is_open
    with ends_within(SOON / 2), pytest.raises(amqp.NotFound):
        connection.drain_events(timeout=timeout)
    assert other.queue_purge('q') == 0
    assert closed.queue_purge('q') == 0  # it has been told


def test_an_error_that_a_call_has_read_ends_the_drain_of_another_thread(peer, connect):
    peer.serve(mute=[commands.Queue.Purge])
    connection = connect()
    connection.channel()
    other = connection.channel()
    purging = Background(other.queue_purge, 'q')
    until(lambda: connection.transport._waiting)
    draining = Background(connection.drain_events, SOON)
    until(lambda: connection._reader._role._waiting)
    peer.wire().send(1, NO_EXCHANGE)
    with ends_within(SOON / 2):
        assert isinstance(draining.error(), amqp.NotFound)
    peer.wire().send(2, commands.Queue.PurgeOk(7))
    assert purging.result() == 7
