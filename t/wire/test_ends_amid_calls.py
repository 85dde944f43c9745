"""A connection that ends while threads are anywhere within its calls: all are told in one way."""

from __future__ import annotations

import random
import threading

import pytest
from pamqp import commands

import amqp
from amqp import Message
from t.helpers.peer import Wire

from .support import LOST, SOON, Background

CALLS = {
    'drain_events': lambda connection, channel: connection.drain_events(timeout=SOON),
    'sleep': lambda connection, channel: connection.sleep(SOON),
    'queue_declare': lambda connection, channel: channel.queue_declare('q'),
    'basic_get': lambda connection, channel: channel.basic_get('q'),
    'basic_publish': lambda connection, channel: publish(channel),
    'basic_publish_confirm': lambda connection, channel: channel.basic_publish_confirm(
        Message('x'), confirm_timeout=SOON
    ),
    'channel': lambda connection, channel: connection.channel().close(),
    'batch': lambda connection, channel: publish_together(connection, channel),
    'call_later': lambda connection, channel: connection.call_later(SOON, list),
    'call_soon_threadsafe': lambda connection, channel: connection.call_soon_threadsafe(list),
    'heartbeat_tick': lambda connection, channel: connection.heartbeat_tick(),
    'send_heartbeat': lambda connection, channel: send_heartbeat(connection, channel),
    'heartbeat_thread': lambda connection, channel: beat(connection),
    'basic_consume': lambda connection, channel: consume(channel),
    'basic_qos': lambda connection, channel: channel.basic_qos(0, 5, False),
    'basic_ack': lambda connection, channel: acknowledge(channel),
    'publish_async': lambda connection, channel: publish_and_wait(channel),
    'publish_batch': lambda connection, channel: publish_in_batch(channel),
}


def publish(channel):
    for _ in range(5):
        channel.basic_publish(Message('x'))
    channel.queue_declare('q')  # or the peer would lie behind


def ignore(outcome):
    """A callback that does nothing."""


def publish_and_wait(channel):
    for _ in range(3):
        channel.publish_async(Message('x')).then(ignore, ignore)
    channel.wait_for_confirms(SOON)


def publish_in_batch(channel):
    with channel.batch() as batch:
        for _ in range(3):
            batch.publish(Message('x'))


def consume(channel):
    channel.basic_cancel(channel.basic_consume('q', callback=ignore))


def acknowledge(channel):
    channel.basic_ack(1)
    channel.queue_declare('q')


def send_heartbeat(connection, channel):
    connection.send_heartbeat()
    channel.queue_declare('q')


def beat(connection):
    connection.start_heartbeat_thread()
    connection.stop_heartbeat_thread()


def publish_together(connection, channel):
    with connection.batch():
        publish(channel)


#: What the peer does upon a purge; the rest is done here.
ENDS = {'collect': None, 'close': None, 'eof': Wire.eof, 'reset': Wire.reset}


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('end', ENDS)
def test_every_call_ends_by_the_same_error(peer, connect, end, seed):
    rng = random.Random(f'{end} {seed}')

    @peer.every
    def script(wire):
        wire.handshake(heartbeat=60)
        if wire.serve(until=commands.Queue.Purge):
            ENDS[end](wire)

    connection = connect(heartbeat=60)
    channel = connection.channel()
    started = threading.Barrier(len(CALLS) + 1)

    def call_on(call):
        channel = connection.channel()
        started.wait(SOON)
        while True:
            call(connection, channel)

    calls = [Background(call_on, call) for call in CALLS.values()]
    started.wait(SOON)
    for _ in range(rng.randrange(20)):
        connection.is_alive()
    if ENDS[end] is None:
        getattr(connection, end)()
    else:
        with pytest.raises(LOST):
            channel.queue_purge('q')
    for name, each in zip(CALLS, calls, strict=True):
        error = each.error()
        assert isinstance(error, LOST), (name, error)
        assert not isinstance(error, amqp.ConnectionForced), name
    assert not connection.connected
