"""What a connection counts, against what the peer has seen go by."""

from __future__ import annotations

import pytest
from pamqp import commands

import amqp
from amqp import Message
from amqp.method_framing import frame_writer
from amqp.protocol import ConnectionStats
from t.helpers.peer import content

from .support import LOST, SOON, Background, drain_until, readable

LARGE = b'l' * 300_000  # in three frames


@pytest.fixture
def connection(peer, connect):
    peer.serve(confirms=False)
    return connect()


def difference(now, before):
    """What has been counted meanwhile."""
    return ConnectionStats(*(one - other for one, other in zip(now, before, strict=True)))


def settle(channel):
    """Have the peer see all that was sent before."""
    channel.queue_declare('q')


def test_before_it_is_connected():
    assert amqp.Connection().stats == (0, 0, 0, 0, 0, 0, 0, 0)


def test_what_was_sent_is_what_the_peer_got(peer, connection):
    channel = connection.channel()
    for body in (b'', '', 'text', b'x' * 40_000, bytearray(b'buffer'), LARGE):
        channel.basic_publish(Message(body), routing_key='q')
    channel.basic_publish(Message('timed'), routing_key='q', timeout=SOON)
    channel.basic_ack(1)
    connection.send_heartbeat()
    settle(channel)
    wire, stats = peer.wire(), connection.stats
    assert stats.messages_published == len(wire.published) == 7
    assert stats.frames_sent == len(wire.received)
    assert stats.bytes_sent == len(wire.received_bytes)


def test_what_came_is_what_the_peer_sent(peer, connection):
    channel = connection.channel()
    got = []
    channel.basic_consume('q', callback=got.append, consumer_tag='tag')
    channel.events['basic_return'].add(lambda *args: got.append(args[3]))
    wire, before = peer.wire(), connection.stats
    for body in (b'', b'short', LARGE):
        wire.deliver(1, 'tag', 1, body)
    wire.send_content(1, commands.Basic.Return(312, 'NO_ROUTE', '', 'q'), b'back')
    wire.heartbeat()
    drain_until(connection, lambda: len(got) == 4)
    settle(channel)
    counted = difference(connection.stats, before)
    assert counted.messages_received == 4
    # Three of each message, but for the empty one and the large one, the heartbeat, the reply.
    assert counted.frames_received == 2 + 3 + (2 + 3) + 3 + 1 + 1
    assert counted.bytes_received > len(LARGE)


def test_a_message_that_comes_octet_by_octet_counts_once(peer, connection):
    channel = connection.channel()
    got = []
    channel.basic_consume('q', callback=got.append, consumer_tag='tag')
    before = connection.stats
    stream = b''.join(content(1, commands.Basic.Deliver('tag', 1, False, 'e', 'q'), b'body'))

    def look():
        readable(connection)
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0)

    peer.wire().dribble(stream, look)
    connection.drain_events(timeout=SOON)
    counted = difference(connection.stats, before)
    assert len(got) == counted.messages_received == 1
    assert (counted.frames_received, counted.bytes_received) == (3, len(stream))


def test_what_a_batch_puts_off_is_bytes_when_it_goes(peer, connection):
    channel = connection.channel()
    channel.basic_publish(Message('first'), routing_key='q')
    before = connection.stats
    with connection.batch():
        channel.basic_publish(Message('later'), routing_key='q')
        counted = difference(connection.stats, before)
        assert (counted.messages_published, counted.frames_sent, counted.bytes_sent) == (1, 3, 0)
    settle(channel)
    assert connection.stats.bytes_sent == len(peer.wire().received_bytes)


def test_confirms_outstanding_and_open_channels_are_those_of_now(peer, connection):
    one, other = connection.channel(), connection.channel()
    for channel in (one, other):
        channel.confirm_select()
        for _ in range(3):
            channel.basic_publish(Message('x'), routing_key='q')
    assert connection.stats[-2:] == (6, 2)
    peer.wire().send(1, commands.Basic.Ack(2, multiple=True))
    peer.wire().send(2, commands.Basic.Nack(1))
    drain_until(connection, lambda: connection.stats.confirms_outstanding == 3)
    other.close()
    assert connection.stats[-2:] == (1, 1)
    one.close()
    assert connection.stats[-2:] == (0, 0)


def test_a_message_that_is_not_sent_does_not_count(peer, connection):
    channel = connection.channel()
    settle(channel)
    before = connection.stats
    with pytest.raises(amqp.EncodeError):
        channel.basic_publish(Message('x', delivery_mode='persistent'), routing_key='q')
    assert connection.stats == before


@pytest.mark.parametrize('end', ['close', 'collect', 'eof'])
def test_counts_remain_when_it_has_ended(peer, connection, end):
    channel = connection.channel()
    channel.confirm_select()
    channel.basic_publish(Message('x'), routing_key='q')
    settle(channel)
    before = connection.stats
    if end == 'eof':
        peer.wire().eof()
        with pytest.raises(LOST):
            connection.drain_events(timeout=SOON)
    else:
        getattr(connection, end)()
    stats = connection.stats
    assert stats[:6] == before[:6] if end != 'close' else stats.frames_sent > before.frames_sent
    assert stats.messages_published == 1
    assert stats[-2:] == (0, 0)


def test_threads_that_publish_are_all_counted(peer, connection):
    """Each on a channel of its own, so that nothing but the stream is shared."""

    def publish(channel):
        for _ in range(500):
            channel.basic_publish(Message('x'), routing_key='q')
        settle(channel)

    calls = [Background(publish, connection.channel()) for _ in range(4)]
    for call in calls:
        call.result()
    assert connection.stats.messages_published == len(peer.wire().published) == 2000
    assert connection.stats.frames_sent == len(peer.wire().received)


def test_a_frame_writer_of_ones_own_is_counted_by_bytes(peer, connect):
    """It may write where it likes; this library's own, in a wrapping, counts as ever."""
    peer.serve()

    def wrapped(connection, transport):
        write = frame_writer(connection, transport)
        return lambda *args: write(*args)

    connection = connect(frame_writer=wrapped)
    channel = connection.channel()
    channel.basic_publish(Message('x'), routing_key='q')
    settle(channel)
    assert connection.stats.messages_published == 1
    assert connection.stats.frames_sent == len(peer.wire().received)
