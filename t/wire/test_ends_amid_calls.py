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
    'heartbeat_tick': lambda connection, channel: connection.heartbeat_tick(),
}


def publish(channel):
    for _ in range(5):
        channel.basic_publish(Message('x'))
    channel.queue_declare('q')  # or the peer would lie behind


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
