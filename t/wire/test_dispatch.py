"""What drain_events does with what comes: one event per call, and the contract of an event loop."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress

import pytest
from pamqp import commands

import amqp
from amqp import Message
from t.helpers.peer import delivery, marshal

from .support import LOST, SOON, Background, drain_until, ends_within, poll_dry, readable, unread


@pytest.fixture
def consumer(peer, connect):
    """A connection, its consuming channel, and what was delivered."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg.body))
    return connection, channel, got


def deliveries(count, start=1):
    numbers = range(start, start + count)
    return b''.join(delivery(1, delivery_tag=n, body=b'%d' % n) for n in numbers)


def bodies(count):
    return [b'%d' % n for n in range(1, count + 1)]


def test_one_event_per_call(peer, consumer):
    connection, _, got = consumer
    peer.wire().send_raw(deliveries(10))
    for number in range(1, 11):
        connection.drain_events(timeout=SOON)
        assert got == bodies(number)
    with pytest.raises(socket.timeout):
        connection.drain_events(timeout=0)


def test_polls_take_one_event_each_and_the_socket_stays_readable(peer, consumer):
    """Kombu's loop sleeps on the socket between two drains: it has to be woken each time."""
    connection, _, got = consumer
    peer.wire().send_raw(deliveries(50))
    for number in range(1, 51):
        readable(connection)
        connection.drain_events(timeout=0)
        assert len(got) == number
    assert not unread(connection)
    with pytest.raises(socket.timeout):
        connection.drain_events(timeout=0)


def test_request_inside_a_callback_leaves_the_rest_to_be_seen(peer, connect):
    """An RPC in a callback reads deliveries that come first: the loop has to learn of them."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []

    def callback(msg):
        got.append(msg.body)
        msg.channel.queue_purge('q')

    channel.basic_consume('q', 'tag', no_ack=True, callback=callback)
    peer.wire().send_raw(deliveries(10))
    with selectors.DefaultSelector() as selector, ends_within(SOON):
        selector.register(connection.sock, selectors.EVENT_READ)
        while len(got) < 10:
            assert selector.select(SOON), f'the loop sleeps, with {len(got)} of 10 handled'
            connection.drain_events(timeout=0)
    assert got == bodies(10)


@pytest.mark.parametrize('count', [1, 3, 500])
def test_nothing_sits_unseen_after_a_request(peer, connect, count):
    """Deliveries come before the reply: after it they are handled, or the socket is readable."""

    def purge(p, channel, frame):
        p.send_raw(deliveries(count), marshal(channel, commands.Queue.PurgeOk(0)), deliveries(3))

    peer.serve(on={commands.Queue.Purge: purge})
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg.body))
    assert channel.queue_purge('q') == 0
    while len(got) < count + 3:
        readable(connection)
        connection.drain_events(timeout=0)
    assert got == bodies(count) + bodies(3)


def test_nothing_sits_unseen_after_a_publish(peer, consumer):
    connection, channel, got = consumer
    peer.wire().send_raw(deliveries(20))
    readable(connection)
    channel.basic_publish(Message('x'), routing_key='q')
    while len(got) < 20:
        readable(connection)
        connection.drain_events(timeout=0)
    assert got == bodies(20)


def test_half_a_frame_does_not_end_a_poll_early(peer, consumer):
    connection, _, got = consumer
    stream = deliveries(2)
    peer.wire().send_raw(stream[:-3])
    readable(connection)
    poll_dry(connection)
    assert got == bodies(1)
    for _ in range(3):
        with ends_within(SOON), pytest.raises(socket.timeout):
            connection.drain_events(timeout=0)
    peer.wire().send_raw(stream[-3:])
    drain_until(connection, lambda: len(got) == 2)


def test_heartbeat_alone_is_no_event(peer, consumer):
    connection, _, got = consumer
    peer.wire().heartbeat()
    readable(connection)
    with pytest.raises(socket.timeout):
        connection.drain_events(timeout=0)
    peer.wire().heartbeat()
    peer.wire().send_raw(deliveries(1))
    connection.drain_events(timeout=SOON)
    assert got == bodies(1)


def test_message_as_it_is_delivered(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', callback=got.append)
    properties = commands.Basic.Properties(
        content_type='text/plain',
        content_encoding='utf-8',
        headers={'a': 1},
        delivery_mode=2,
        priority=3,
        correlation_id='c',
        reply_to='r',
        message_id='m',
    )
    body = 'grüß'.encode()
    peer.wire().deliver(
        1, 'tag', 7, body, exchange='e', routing_key='k', redelivered=True, properties=properties
    )
    connection.drain_events(timeout=SOON)
    [message] = got
    assert message.body == 'grüß'
    assert message.delivery_tag == 7
    assert message.channel is channel
    assert message.delivery_info == {
        'consumer_tag': 'tag',
        'delivery_tag': 7,
        'redelivered': True,
        'exchange': 'e',
        'routing_key': 'k',
    }
    assert message.properties['application_headers'] == {'a': 1}
    assert message.properties['delivery_mode'] == 2
    assert message.headers == {'a': 1}


def test_basic_get(peer, connect):
    def get(p, channel, frame):
        p.send_content(channel, commands.Basic.GetOk(4, False, 'e', 'k', 9), b'body')

    peer.serve(on={commands.Basic.Get: get})
    channel = connect().channel()
    message = channel.basic_get('q')
    assert message.body == b'body'
    assert message.delivery_tag == 4
    assert message.delivery_info['message_count'] == 9


def test_basic_get_of_an_empty_queue(peer, connect):
    peer.serve()
    assert connect().channel().basic_get('q') is None


def test_delivery_before_consume_ok_finds_its_callback(peer, connect):
    def consume(p, channel, frame):
        p.deliver(channel, frame.consumer_tag, body=b'early')
        p.send(channel, commands.Basic.ConsumeOk(frame.consumer_tag))

    peer.serve(on={commands.Basic.Consume: consume})
    connection = connect()
    channel = connection.channel()
    for tag in ('mine', ''):
        got = []
        channel.basic_consume('q', tag, no_ack=True, callback=lambda msg, g=got: g.append(msg.body))
        drain_until(connection, lambda g=got: g)
        assert got == [b'early']


def test_delivery_without_a_callback_is_put_back(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    channel.basic_consume('q', 'plain')
    channel.basic_consume('q', 'no-ack', no_ack=True)
    peer.wire().deliver(1, 'plain', 3)
    peer.wire().deliver(1, 'no-ack', 4)
    assert channel.queue_purge('q') == 0
    rejected = peer.wire().seen(commands.Basic.Reject)
    assert [(frame.delivery_tag, frame.requeue) for frame in rejected] == [(3, True)]


def test_error_of_a_callback_goes_up_and_harms_nothing(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []

    def callback(msg):
        got.append(msg.body)
        if len(got) == 1:
            raise KeyError('mine')

    channel.basic_consume('q', 'tag', no_ack=True, callback=callback)
    peer.wire().send_raw(deliveries(2))
    with pytest.raises(KeyError):
        connection.drain_events(timeout=SOON)
    assert connection.connected
    connection.drain_events(timeout=SOON)
    assert got == bodies(2)


@pytest.mark.parametrize('error', [OSError('mine'), TimeoutError('mine'), amqp.NotFound('mine')])
def test_errors_of_callbacks_that_look_like_ours(peer, connect, error):
    """A callback's own OSError must not be taken for the loss of this connection."""
    peer.serve()
    connection = connect()
    channel = connection.channel()

    def callback(msg):
        raise error

    channel.basic_consume('q', 'tag', no_ack=True, callback=callback)
    peer.wire().deliver(1)
    with pytest.raises(type(error), match='mine'):
        connection.drain_events(timeout=SOON)
    assert connection.connected
    assert channel.queue_purge('q') == 0


def test_drain_within_a_callback(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []

    def callback(msg):
        got.append(msg.body)
        if len(got) == 1:
            connection.drain_events(timeout=SOON)

    channel.basic_consume('q', 'tag', no_ack=True, callback=callback)
    peer.wire().send_raw(deliveries(2))
    connection.drain_events(timeout=SOON)
    assert got == bodies(2)


def test_acknowledgements_from_other_threads(peer, connect):
    """ack, nack and reject from any thread while another drains; each once, none lost."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    tags = []
    channel.basic_consume('q', 'tag', callback=lambda msg: tags.append(msg.delivery_tag))
    stop = threading.Event()

    def drain():
        while not stop.is_set():
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.05)

    drainer = Background(drain)

    def settle(number):
        for tag in range(number, 300, 3):
            (channel.basic_ack, channel.basic_nack, lambda t: channel.basic_reject(t, True))[
                number
            ](tag + 1)

    peer.wire().send_raw(deliveries(300))
    settlers = [Background(settle, number) for number in range(3)]
    for settler in settlers:
        settler.result()
    wire = peer.wire()
    kinds = (commands.Basic.Ack, commands.Basic.Nack, commands.Basic.Reject)
    settled = {frame.delivery_tag for kind in kinds for frame in wire.seen(kind, 100)}
    assert settled == set(range(1, 301))
    stop.set()
    drainer.result()


def test_replies_reach_their_threads_beside_a_drain(peer, connect):
    """Declares of several threads beside a drain loop: each gets the reply to its own."""
    peer.serve()
    connection = connect()
    stop = threading.Event()
    got = []
    consuming = connection.channel()
    consuming.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg))
    threads = set()
    consuming.callbacks['tag'] = lambda msg: threads.add(threading.get_ident()) or got.append(msg)

    def drain():
        while not stop.is_set():
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.05)
        return threading.get_ident()

    def declare(number):
        channel = connection.channel()
        for count in range(150):
            name = f'{number}-{count}'
            assert channel.queue_declare(name).queue == name
        return channel.channel_id

    drainer = Background(drain)
    declarers = [Background(declare, number) for number in range(6)]
    for start in range(1, 201, 10):
        peer.wire().send_raw(deliveries(10, start))
    ids = [declarer.result() for declarer in declarers]
    assert len(set(ids)) == len(ids)
    for _ in range(100):
        if len(got) == 200:
            break
        stop.wait(0.05)
    stop.set()
    assert len(got) == 200
    assert threads == {drainer.result()}, 'callbacks belong to the thread that drains'


def test_update_secret_beside_a_drain(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg.body))
    drainer = Background(drain_until, connection, lambda: got)
    connection.update_secret('new token', 'expired')
    [update] = peer.wire().seen(commands.Connection.UpdateSecret)
    assert (update.new_secret, update.reason) == ('new token', 'expired')
    peer.wire().send_raw(deliveries(1))
    drainer.result()
    assert got == bodies(1)


def test_two_drainers_share_what_comes(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got, lock = [], threading.Lock()

    def callback(msg):
        with lock:
            got.append(msg.body)

    channel.basic_consume('q', 'tag', no_ack=True, callback=callback)
    drainers = [Background(drain_until, connection, lambda: len(got) >= 100) for _ in range(3)]
    peer.wire().send_raw(deliveries(100))
    assert any(drainer.error() is None for drainer in drainers[:1]) or len(got) >= 100
    connection.collect()
    for drainer in drainers:
        assert isinstance(drainer.error(), (LOST, TimeoutError, type(None)))
    assert sorted(got, key=int) == bodies(100)


def test_poll_beside_a_blocked_drain(peer, consumer):
    """While one thread waits on the socket, another's poll returns at once."""
    connection, _, got = consumer
    waiting = Background(connection.drain_events, timeout=SOON)
    with ends_within(SOON / 2):
        for _ in range(20):
            with suppress(TimeoutError):
                connection.drain_events(timeout=0)
    peer.wire().send_raw(deliveries(1))
    waiting.result()
    assert got == bodies(1)


def test_end_of_stream_does_not_spin(peer, consumer):
    connection, _, _ = consumer
    peer.wire().eof()
    readable(connection)
    for timeout in (0, 0, None, SOON):
        with ends_within(SOON / 2), pytest.raises(LOST):
            connection.drain_events(timeout=timeout)


def test_messages_before_the_end_are_handled_first(peer, consumer):
    connection, _, got = consumer
    peer.wire().send_raw(deliveries(5))
    peer.wire().eof()
    for _ in range(5):
        connection.drain_events(timeout=SOON)
    with pytest.raises(LOST):
        connection.drain_events(timeout=SOON)
    assert got == bodies(5)
