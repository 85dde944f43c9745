"""Reading for everybody: who reads, what is left in user space, how heartbeats are kept up."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

import pytest
from pamqp import commands, heartbeat

import amqp
from amqp import frame_reader as module
from amqp.deadline import Deadline
from amqp.frame_reader import LISTENERS, SIMPLE_METHODS, FrameReader
from t.helpers.peer import content, delivery, marshal
from t.helpers.storms import Storm
from t.helpers.streams import soon
from t.helpers.threads import SOON, Background, Interrupted, InterruptedLock, until

NOW = Deadline(0, 0.0)
FOR_EVER = Deadline(None, 0.0)
LOST = amqp.RecoverableConnectionError


@pytest.fixture
def connection(peer, connect):
    peer.serve()
    return connect()


@pytest.fixture
def reader(connection):
    return connection._reader


@pytest.fixture
def wire(peer, connection):
    return peer.wire()


@pytest.fixture
def seen(connection):
    """The bodies that a consumer on channel 1 gets."""
    bodies = []
    channel = connection.channel()
    channel.basic_consume(
        'q', 'tag', callback=lambda message: bodies.append(message.body), no_ack=True
    )
    return bodies


def waiting(connection):
    until(connection.transport.data_is_waiting)


def test_one_method_for_each_advance(connection, reader, wire, seen):
    wire.send_raw(delivery(1, body=b'1') + delivery(1, body=b'2'))
    assert reader.advance(lambda: False, FOR_EVER)
    assert len(connection._events) == 1
    assert reader.advance(lambda: False, FOR_EVER)
    assert len(connection._events) == 2
    assert seen == []
    with pytest.raises(TimeoutError):
        reader.advance(lambda: False, NOW)


def test_who_has_what_it_waits_for_does_not_read(connection, reader, wire):
    wire.send(0, commands.Connection.Unblocked())
    waiting(connection)
    assert not reader.advance(lambda: True, FOR_EVER)
    assert connection.transport.data_is_waiting()


def test_who_waits_on_a_lost_connection_is_told(connection, reader):
    assert reader._role.try_take()
    other = Background(reader.advance, lambda: False, FOR_EVER)
    until(lambda: reader._role._waiting)
    connection.collect()
    assert isinstance(other.error(), LOST)


def test_callbacks_run_while_one_waits(connection, reader, wire, seen):
    wire.deliver(1, body=b'1')
    reader.wait_until(lambda: seen, Deadline(None, 0.0))
    assert seen == [b'1']


def test_a_look_reads_what_is_there_and_no_more(connection, reader, wire, seen):
    assert reader.look(10) == 0
    for number in range(5):
        wire.deliver(1, body=b'%d' % number)
    waiting(connection)
    until(lambda: reader.look(3) or len(connection._events) == 5)
    assert len(connection._events) <= 5
    until(lambda: reader.look(10) or len(connection._events) == 5)
    assert seen == []


def test_a_look_within_user_space_asks_no_kernel(connection, reader, wire, seen):
    wire.deliver(1, body=b'1')
    waiting(connection)
    assert reader.look(10, kernel=False) == 0
    assert len(connection._events) == 0


def test_a_look_beside_another_reader_sees_nothing(connection, reader, wire):
    assert reader._role.try_take()
    wire.send(0, commands.Connection.Unblocked())
    waiting(connection)
    assert Background(reader.look, 10).result() == 0


def test_what_has_been_read_is_handled(connection, reader, wire, seen):
    for number in range(3):
        wire.deliver(1, body=b'%d' % number)
    until(lambda: reader.look(3) or len(connection._events) == 3)
    reader.leave_nothing_unseen()
    assert seen == [b'0', b'1', b'2']


def test_reports_are_raised_when_asked_for(connection, reader, wire):
    channel = connection.channel()
    wire.send(1, commands.Basic.Cancel('tag', True))
    until(lambda: reader.look(1))
    reader.leave_nothing_unseen()
    with pytest.raises(amqp.ConsumerCancelled):
        reader.leave_nothing_unseen(reports=True)
    assert channel.is_open


def test_an_end_is_set_to_it(connection, reader, monkeypatch):
    """Callbacks that have ever more taken in must not keep their thread for ever."""
    monkeypatch.setattr(module, 'UNSEEN_LIMIT', 10)
    ran = []

    def add():
        outer = connection._events.begin_collecting()
        connection._events.add(connection, again)
        connection._events.end_collecting(outer)

    def again():
        ran.append(None)
        add()

    add()
    reader.leave_nothing_unseen()
    assert len(ran) == 10


def test_within_a_callback_it_is_left_to_the_drain(connection, reader, wire):
    found = []
    channel = connection.channel()

    def callback(message):
        channel.queue_declare('q')  # takes the second delivery in
        found.append((message.body, len(connection._events)))

    channel.basic_consume('q', 'tag', callback=callback, no_ack=True)
    wire.send_raw(delivery(1, body=b'1') + delivery(1, body=b'2'))
    waiting(connection)
    connection.drain_events(timeout=0)
    assert found == [(b'1', 1), (b'2', 0)]


def test_last_words(connection, reader, wire):
    wire.send(0, commands.Connection.Close(320, 'bye', 0, 0))
    waiting(connection)
    with pytest.raises(amqp.ConnectionForced, match='bye'):
        reader.hear_last_words(100)


def test_no_last_words(connection, reader):
    reader.hear_last_words(100)
    connection.collect()
    reader.hear_last_words(100)


def test_last_words_are_another_readers_to_hear(connection, reader, monkeypatch):
    monkeypatch.setattr(module, 'LAST_WORDS_PATIENCE', 0.02)
    assert reader._role.try_take()
    Background(reader.hear_last_words, 100).result()


def test_a_role_renewed(connection, reader):
    """As in a forked child, where the reader isn't."""
    assert Background(reader._role.try_take).result()
    assert not reader._role.try_take()
    reader.renew_role()
    assert reader._role.try_take()


def test_who_waits_when_the_role_is_renewed_looks_again(connection, reader, wire, seen):
    """As a greenlet in a forked child does."""
    assert reader._role.try_take()
    waiter = Background(reader.wait_until, lambda: seen, FOR_EVER)
    until(lambda: reader._role._waiting)
    reader.renew_role()
    wire.deliver(1, body=b'1')
    waiter.result()
    assert seen == [b'1']


def test_it_does_not_keep_its_connection():
    class Connection:
        pass

    connection = Connection()
    reader = FrameReader(connection, None)
    assert reader._connection() is connection
    del connection
    assert reader._connection() is None


def test_a_timeout_of_the_callers_passes_and_the_stream_goes_on(connection, reader, wire):
    wire.send_raw(b'\x08\x00\x00\x00')
    waiting(connection)
    with pytest.raises(TimeoutError):
        reader.read_one(NOW)
    wire.send_raw(b'\x00\x00\x00\xce')
    assert reader.read_one(soon()) is False


def test_a_timeout_raised_by_a_frame_handler_breaks_the_connection(connection, reader, wire):
    """The frame it was called with is lost."""

    def handler(frame):
        raise TimeoutError('of its own')

    connection.on_inbound_frame = handler
    wire.heartbeat()
    with pytest.raises(LOST, match='of its own'):
        reader.read_one(FOR_EVER)
    assert not connection.connected


def test_a_frame_at_a_time_beside_another_reader(connection, reader):
    assert reader._role.try_take()
    assert Background(connection.blocking_read, 0.3).result() is False
    other = Background(reader.read_one, FOR_EVER)
    until(lambda: reader._role._waiting)
    connection.collect()
    assert isinstance(other.error(), LOST)


def test_a_subclass_is_asked_for_each_frame(peer, connect):
    calls = []

    class Connection(amqp.Connection):
        def blocking_read(self, timeout=None):
            calls.append(timeout)
            return super().blocking_read(timeout)

    peer.serve()
    connection = connect(Connection)
    assert calls
    assert all(0 < timeout <= 5 for timeout in calls)
    assert connection.channel().queue_declare('q').queue == 'q'


def test_heartbeats_are_kept_up_by_whoever_waits(peer, connect):
    peer.serve(handshake={'heartbeat': 1})
    connection = connect(heartbeat=1)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=1.2)
    assert len(peer.wire().seen(heartbeat.Heartbeat, 2)) >= 2
    assert connection.is_alive()


@pytest.mark.skipif(amqp.speedups == 'compiled', reason='no signal handler runs in between there')
@pytest.mark.parametrize(
    'use',
    [
        lambda reader: reader.deliver_next(False),
        lambda reader: reader.advance(lambda: False, FOR_EVER),
        lambda reader: reader.read_one(FOR_EVER),
        lambda reader: reader.look(1),
        lambda reader: reader.hear_last_words(1),
    ],
)
def test_an_exception_right_behind_the_taking_of_the_role_leaves_it_to_be_had(
    connection, reader, use
):
    role = reader._role
    role._role = InterruptedLock(role._role)
    with pytest.raises(Interrupted):
        use(reader)
    assert Background(role.try_take).result()


# -- the short way from the socket to a callback


def short(reader, wire, *octets):
    """Whether the next delivery, which is in the buffer, goes the short way."""
    wire.send_raw(b''.join(octets))
    transport = reader._connection().transport
    while not transport.has_frame():
        transport.fill(soon())
    return reader.deliver_next(False)


def test_a_delivery_goes_straight_to_its_callback(connection, reader, wire):
    got = []
    channel = connection.channel()
    channel.basic_consume('q', 'tag', callback=got.append)
    assert short(reader, wire, delivery(1, delivery_tag=9, body=b'1', exchange='x'))
    [message] = got
    assert (message.body, message.channel, message.delivery_tag) == (b'1', channel, 9)
    assert message.delivery_info == {
        'consumer_tag': 'tag',
        'delivery_tag': 9,
        'redelivered': False,
        'exchange': 'x',
        'routing_key': 'key',
    }
    assert not reader.deliver_next(False)
    assert not connection._events.pending()


def test_one_delivery_at_a_time(reader, wire, seen):
    assert short(reader, wire, *(delivery(1, body=b'%d' % each) for each in range(3)))
    for count in (1, 2, 3):
        assert len(seen) == count
        assert reader.deliver_next(False) == (count < 3)
    assert seen == [b'0', b'1', b'2']


@pytest.mark.parametrize(('auto_decode', 'expected'), [(True, 'ü'), (False, 'ü'.encode())])
def test_text_where_it_is_asked_for(connection, reader, wire, auto_decode, expected):
    bodies = []
    channel = connection.channel()
    channel.auto_decode = auto_decode
    channel.basic_consume('q', 'tag', callback=lambda message: bodies.append(message.body))
    properties = commands.Basic.Properties(content_encoding='utf-8')
    assert short(reader, wire, delivery(1, body='ü'.encode(), properties=properties))
    assert bodies == [expected]


def drained(connection):
    connection.drain_events(timeout=SOON)


class Recorded:
    """Something of the caller's in the way of a delivery."""

    def __init__(self, method):
        self.method = method
        self.calls = []

    def __call__(self, *args):
        self.calls.append(args)
        return self.method(*args)


def consumer_of(channel, **options):
    bodies = []
    channel.basic_consume(
        'q', 'tag', callback=lambda message: bodies.append(message.body), **options
    )
    return bodies


@pytest.mark.parametrize('name', ['dispatch_method', '_on_basic_deliver'])
def test_a_channel_of_ones_own_is_asked(connection, reader, wire, name):
    calls = []

    def method(self, *args):
        calls.append(args)
        return getattr(amqp.Channel, name)(self, *args)

    channel = type('Channel', (amqp.Channel,), {name: method})(connection)
    channel.open()
    bodies = consumer_of(channel)
    calls.clear()
    wire.send_raw(delivery(1, body=b'1'))
    drained(connection)
    assert bodies == [b'1']
    assert len(calls) == 1


def test_an_attribute_of_a_channel_is_asked(connection, wire):
    channel = connection.channel()
    recorded = channel.dispatch_method = Recorded(channel.dispatch_method)
    bodies = consumer_of(channel)
    recorded.calls.clear()
    wire.send_raw(delivery(1, body=b'1'))
    drained(connection)
    assert bodies == [b'1']
    assert [args[0] for args in recorded.calls] == [(60, 60)]


@pytest.mark.parametrize('name', ['on_inbound_method', 'blocking_read'])
def test_a_connection_of_ones_own_is_asked(peer, connect, name):
    calls = []

    def method(self, *args):
        calls.append(args)
        return getattr(amqp.Connection, name)(self, *args)

    peer.serve()
    connection = connect(type('Connection', (amqp.Connection,), {name: method}))
    bodies = consumer_of(connection.channel())
    calls.clear()
    peer.wire().send_raw(delivery(1, body=b'1'))
    drained(connection)
    assert bodies == [b'1']
    assert calls


def test_an_attribute_of_a_connection_is_asked(peer):
    peer.serve()
    connection = amqp.Connection(peer.host, connect_timeout=SOON)
    recorded = connection.on_inbound_method = Recorded(connection.on_inbound_method)
    connection.connect()
    bodies = consumer_of(connection.channel())
    recorded.calls.clear()
    peer.wire().send_raw(delivery(1, body=b'1'))
    drained(connection)
    connection.collect()
    assert bodies == [b'1']
    assert [args[:2] for args in recorded.calls] == [(1, (60, 60))]


def test_a_frame_handler_of_ones_own_gets_every_frame(peer, connect):
    frames = []

    def handler(connection, callback):
        handle = amqp.method_framing.frame_handler(connection, callback)

        def own(frame):
            frames.append(frame)
            return handle(frame)

        return own

    peer.serve()
    connection = connect(frame_handler=handler)
    bodies = consumer_of(connection.channel())
    frames.clear()
    body = b'x' * 200_000
    peer.wire().send_raw(delivery(1, body=b'1') + delivery(1, body=body))
    drained(connection)
    drained(connection)
    assert bodies == [b'1', body]
    assert [(kind, channel) for kind, channel, _ in frames] == [
        (1, 1), (2, 1), (3, 1), (1, 1), (2, 1), (3, 1), (3, 1),
    ]  # fmt: skip
    assert all(type(payload) is bytes for _, _, payload in frames)


def test_a_frame_handler_that_comes_later_gets_every_frame(connection, wire, seen):
    frames = []
    handle = connection.on_inbound_frame

    def own(frame):
        frames.append(frame)
        return handle(frame)

    connection.on_inbound_frame = own
    body = b'x' * 200_000
    wire.send_raw(delivery(1, body=body))
    drained(connection)
    assert seen == [body]
    assert len(frames) == 4
    assert all(type(payload) is bytes for _, _, payload in frames)


def test_a_consumer_that_is_unknown(connection, reader, wire, seen):
    """It is put back, as by any way."""
    assert short(reader, wire, delivery(1, 'unknown', 7))
    assert wire.seen(commands.Basic.Reject)[0].delivery_tag == 7
    assert seen == []


def test_a_consumer_without_a_callback(connection, reader, wire):
    channel = connection.channel()
    channel.basic_consume('q', 'no ack', callback=None, no_ack=True)
    channel.basic_consume('q', 'ack', callback=None)
    assert short(reader, wire, delivery(1, 'no ack', 7), delivery(1, 'ack', 8))
    assert reader.deliver_next(False)
    assert [each.delivery_tag for each in wire.seen(commands.Basic.Reject)] == [8]


def test_a_channel_that_closes_gets_nothing(peer, connect):
    peer.serve(mute={commands.Channel.Close})
    connection = connect()
    wire = peer.wire()
    channel, other = connection.channel(), connection.channel()
    bodies, others = consumer_of(channel), consumer_of(other)
    closing = Background(channel.close)
    wire.seen(commands.Channel.Close)
    wire.send_raw(delivery(1, body=b'late') + delivery(2, body=b'2'))

    def is_there():
        with suppress(TimeoutError):
            connection.drain_events(timeout=0)
        return others

    until(is_there)  # in whichever of the two threads
    wire.send(1, commands.Channel.CloseOk())
    closing.result()
    assert (bodies, others) == ([], [b'2'])


def test_a_channel_that_is_closed_gets_nothing(connection, reader, wire):
    channel = connection.channel()
    bodies = consumer_of(channel)
    assert short(reader, wire, delivery(1, body=b'1'))
    channel.close()
    assert bodies == [b'1']
    wire.send_raw(delivery(1, body=b'late'))
    with pytest.raises(amqp.AMQPError):
        drained(connection)
    assert bodies == [b'1']


def test_a_number_that_another_channel_has_now(connection, reader, wire):
    """The new one's deliveries go the short way, too."""
    for turn in range(3):
        channel = connection.channel(1)
        bodies = consumer_of(channel)
        wire.send_raw(delivery(1, body=b'a') + delivery(1, body=b'b') + delivery(1, body=b'c'))
        waiting(connection)
        while len(bodies) < 3:
            drained(connection)
        assert bodies == [b'a', b'b', b'c']
        assert reader._last is channel._inbox, turn
        channel.close()


def test_a_channel_that_moved_is_found_under_its_new_number(connection, reader, wire):
    channel = connection.channel()
    bodies = consumer_of(channel)
    assert short(reader, wire, delivery(1, body=b'1'))
    connection._registry.move(channel, connection._registry.allocate())
    assert short(reader, wire, delivery(2, body=b'2'))
    assert bodies == [b'1', b'2']


def test_channels_take_turns(connection, reader, wire):
    bodies = [consumer_of(connection.channel()) for _ in range(3)]
    stream = b''.join(delivery(1 + each % 3, body=b'%d' % each) for each in range(30))
    assert short(reader, wire, stream)
    while reader.deliver_next(False):
        pass
    assert bodies == [[b'%d' % each for each in range(start, 30, 3)] for start in range(3)]


@pytest.mark.parametrize('size', [10, 5000, 60_000, 100_000])
def test_the_largest_message(peer, connect, size):
    peer.serve()
    connection = connect(max_message_size=size)
    bodies = consumer_of(connection.channel())
    wire = peer.wire()
    wire.send_raw(delivery(1, body=b'x' * size) + delivery(1, body=b'y' * (size + 1)))
    drained(connection)
    with pytest.raises(amqp.FrameError, match=f'max_message_size is {size}'):
        drained(connection)
    assert bodies == [b'x' * size]


def test_the_largest_message_can_be_set_later(connection, wire, seen):
    wire.send_raw(delivery(1, body=b'x' * 100))
    drained(connection)
    connection.max_message_size = 99
    assert connection.max_message_size == 99
    wire.send_raw(delivery(1, body=b'x' * 100))
    with pytest.raises(amqp.FrameError):
        drained(connection)
    assert len(seen) == 1


@pytest.mark.parametrize('limit', [0, 2**70])
def test_no_largest_message(connection, wire, seen, limit):
    connection.max_message_size = limit
    wire.send_raw(delivery(1, body=b'x' * 100_000))
    drained(connection)
    assert len(seen) == 1


@pytest.mark.parametrize('channel_id', [0, 7])
def test_a_channel_that_is_none(connection, wire, seen, channel_id):
    wire.send_raw(delivery(channel_id))
    with pytest.raises((amqp.UnexpectedFrame, amqp.ChannelNotOpen)):
        drained(connection)
    assert not connection.connected


def test_events_keep_their_order(connection, reader, wire, seen):
    """A return, a cancel and deliveries between them."""
    channel = connection.channel(1)
    channel.events['basic_return'].add(lambda *args: seen.append('return'))
    channel.basic_consume('q', 'other', on_cancel=lambda tag: seen.append(f'cancel {tag}'))
    returned = b''.join(content(1, commands.Basic.Return(312, 'NO_ROUTE', '', 'key'), b'body'))
    cancel = marshal(1, commands.Basic.Cancel('other', True))
    wire.send_raw(
        delivery(1, body=b'1') + returned + delivery(1, body=b'2') + cancel + delivery(1, body=b'3')
    )
    while len(seen) < 5:
        drained(connection)
    assert seen == [b'1', 'return', b'2', 'cancel other', b'3']


def test_events_of_another_reader_come_first(connection, reader, wire, seen):
    """What it has taken in came before what is in the buffer now."""
    wire.send_raw(b''.join(delivery(1, body=b'%d' % each) for each in range(4)))
    waiting(connection)
    assert Background(reader.look, 2).result() == 2
    while len(seen) < 4:
        drained(connection)
    assert seen == [b'0', b'1', b'2', b'3']


def test_a_reader_that_adds_an_event_before_the_role_is_taken(connection, reader, wire, seen):
    """Another thread's event falls between the look at the queue and the taking of the role."""
    wire.send_raw(delivery(1, body=b'0') + delivery(1, body=b'1'))
    waiting(connection)
    outer = connection._events.begin_collecting()
    connection._events.add(connection, seen.append, 'earlier')
    connection._events.end_collecting(outer)
    assert not reader.deliver_next(False)
    while len(seen) < 3:
        drained(connection)
    assert seen == ['earlier', b'0', b'1']


@pytest.mark.skipif(amqp.speedups == 'compiled', reason='the role is out of reach')
def test_an_event_that_another_reader_adds_right_before_it_steps_down(
    connection, reader, wire, seen
):
    """Before the role is taken, though behind all looks that come earlier."""
    wire.send_raw(b''.join(delivery(1, body=b'%d' % each) for each in range(4)))
    waiting(connection)
    drained(connection)  # the rest is in user space now

    class Role:
        def __init__(self, role):
            self._role = role

        def try_take(self):
            reader._role = self._role
            assert Background(reader.look, 1).result() == 1
            return self._role.try_take()

        def is_mine(self):
            return self._role.is_mine()

    reader._role = Role(reader._role)
    reader.deliver_next(False)
    while len(seen) < 4:
        drained(connection)
    assert seen == [b'0', b'1', b'2', b'3']


def test_beside_another_reader_it_is_none_of_ours(connection, reader, wire, seen):
    assert Background(reader._role.try_take).result()
    wire.send_raw(delivery(1, body=b'1'))
    waiting(connection)
    assert not reader.deliver_next(False)
    assert seen == []


def test_within_a_callback(connection, wire):
    """A drain from within a callback, which its author asked for."""
    bodies = []

    def callback(message):
        bodies.append(message.body)
        if message.body == b'1':
            connection.drain_events(timeout=SOON)
            bodies.append('outer')

    connection.channel().basic_consume('q', 'tag', callback=callback)
    wire.send_raw(delivery(1, body=b'1') + delivery(1, body=b'2'))
    drained(connection)
    assert bodies == [b'1', b'2', 'outer']
    assert connection._events.may_run_here()


def test_a_callback_that_raises(connection, wire):
    bodies = []

    def callback(message):
        bodies.append(message.body)
        raise KeyError(message.body)

    connection.channel().basic_consume('q', 'tag', callback=callback)
    wire.send_raw(delivery(1, body=b'1') + delivery(1, body=b'2'))
    for each in (b'1', b'2'):
        with pytest.raises(KeyError, match=each.decode()):
            drained(connection)
    assert bodies == [b'1', b'2']
    assert connection.connected
    assert connection._events.may_run_here()


@pytest.mark.parametrize('end', ['collect', 'close'])
def test_a_callback_that_ends_the_connection(connection, wire, end):
    bodies = []

    def callback(message):
        bodies.append(message.body)
        getattr(connection, end)()

    connection.channel().basic_consume('q', 'tag', callback=callback, no_ack=True)
    wire.send_raw(delivery(1, body=b'1') + delivery(1, body=b'2'))
    waiting(connection)
    connection.drain_events(timeout=0)
    assert bodies == [b'1']
    with pytest.raises(LOST):
        connection.drain_events(timeout=0)


def test_deliveries_before_the_end_of_the_stream(connection, wire, seen):
    wire.send_raw(delivery(1, body=b'1') + delivery(1, body=b'2') + delivery(1, body=b'3')[:20])
    wire.close()
    drained(connection)
    drained(connection)
    assert seen == [b'1', b'2']
    with pytest.raises(LOST, match='the peer closed the connection'):
        drained(connection)


@pytest.mark.parametrize('size', [4000, 66_000, 300_000])
def test_half_a_message_before_another_asks(connection, reader, wire, seen, size):
    """One look after the other takes what is there, however large the frame at hand is."""
    stream = delivery(1, body=b'x' * size, frame_max=131_072)
    for start in range(0, len(stream), 30_000):
        wire.send_raw(stream[start : start + 30_000])
        waiting(connection)
        for _ in range(20):
            reader.deliver_next(True)
    until(lambda: seen or reader.look(1) or connection._events.run_next())
    until(lambda: seen or connection._events.run_next())
    assert seen == [b'x' * size]


def test_heartbeats_are_kept_up_in_a_continuous_flow(peer, connect):
    """Though each receive finds something, so that nobody ever waits."""
    peer.serve(handshake={'heartbeat': 1})
    connection = connect(heartbeat=1)
    wire = peer.wire()
    over = threading.Event()

    def flood():
        stream = delivery(1, body=b'x' * 100) * 50
        while not over.is_set():
            wire.send_raw(stream)

    consumer_of(connection.channel(), no_ack=True)
    flooding = Background(flood)
    try:
        end = time.monotonic() + 1.7
        while time.monotonic() < end:
            drained(connection)
    finally:
        over.set()
        connection.collect()
    assert flooding.error() is None or isinstance(flooding.error(), OSError)
    assert len(wire.seen(heartbeat.Heartbeat, 2)) >= 2


@pytest.mark.parametrize('size', [10_000, 100_000])
def test_heartbeats_are_kept_up_frame_by_frame(peer, connect, size):
    """By a callback that takes its time, too: there is always something to read then."""
    peer.serve(handshake={'heartbeat': 1, 'frame_max': 4096})
    connection = connect(heartbeat=1)
    wire = peer.wire()
    over = threading.Event()

    def flood():
        stream = delivery(1, body=b'x' * size, frame_max=4096)
        while not over.is_set():
            wire.send_raw(stream)

    consumer_of(connection.channel(), no_ack=True)
    flooding = Background(flood)
    try:
        end = time.monotonic() + 1.7
        while time.monotonic() < end:
            drained(connection)
    finally:
        over.set()
        connection.collect()
    assert flooding.error() is None or isinstance(flooding.error(), OSError)
    assert len(wire.seen(heartbeat.Heartbeat, 2)) >= 2


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork here')
def test_a_forked_childs_drain_raises_though_deliveries_are_there(connection, reader, wire, seen):
    wire.send_raw(b''.join(delivery(1, body=b'%d' % each) for each in range(3)))
    drained(connection)
    assert connection.transport.has_frame()
    child = os.fork()
    if not child:
        code = 1
        try:
            connection.drain_events(timeout=0)
        except LOST:
            code = 0 if len(seen) == 1 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    drained(connection)
    drained(connection)
    assert seen == [b'0', b'1', b'2']


def test_a_close_by_another_thread(peer, connect):
    """Anywhere within a drain: it ends by the documented error, and nothing else happens."""
    for turn in range(40):
        peer.serve()
        connection = connect()
        wire = peer.wire(turn)
        consumer_of(connection.channel(), no_ack=True)
        wire.send_raw(delivery(1, body=b'x') * (turn * 5 + 1))
        until(connection.transport.data_is_waiting)

        def drain(connection=connection):
            while True:
                connection.drain_events(timeout=SOON)

        draining = Background(drain)
        (connection.collect if turn % 2 else connection.close)()
        assert isinstance(draining.error(), LOST)


def test_a_lost_connection_keeps_nothing(connection, reader, wire, seen):
    assert short(reader, wire, delivery(1, body=b'1'))
    assert reader._last is not None
    connection.collect()
    assert reader._last is None
    assert not reader._is_direct


# SIGALRM is taken, which pytest-timeout uses by default.
@pytest.mark.timeout(120, method='thread')
@pytest.mark.parametrize('seed', range(4))
def test_exceptions_in_a_storm_leave_it_whole_or_broken(peer, connect, seed):
    """A signal handler that raises anywhere within drains: no delivery twice or out of order."""
    peer.serve()
    connection = connect()
    # Not within the storm: an interrupted socketpair() leaves its sockets to the garbage collector.
    connection.transport.make_wakeable()
    wire = peer.wire()
    got = []
    connection.channel().basic_consume(
        'q', 'tag', callback=lambda message: got.append(message.delivery_tag), no_ack=True
    )
    count, interrupted = 10_000, 0
    stream = b''.join(
        delivery(1, delivery_tag=each, body=b'x' * (each % 50)) for each in range(count)
    )
    sending = Background(wire.send_raw, stream)

    def drain(last):
        while not got or got[-1] < last:
            connection.drain_events(timeout=SOON)

    broken = calm = False
    with Storm(0.0004 + 0.0003 * seed) as storm:
        while not broken and not calm:
            try:
                # Some are left for the calm: the last of all may be among those that are lost.
                storm.call(lambda: drain(count - 500))
                calm = True
            except Interrupted:
                interrupted += 1
            except LOST:
                broken = True
    if calm:
        drain(count - 1)
    sending.error()  # its end, if the connection is broken
    assert interrupted or broken
    assert got == sorted(set(got))
    if broken:
        assert not connection.connected
        return
    # A delivery may be lost with its callback, once for each exception.
    assert len(got) >= count - interrupted
    wire.deliver(1, delivery_tag=count)
    while got[-1] < count:
        connection.drain_events(timeout=SOON)


def test_no_method_that_a_channel_listens_for_goes_past_it():
    """But for those whose listener the short way calls itself."""
    listened = amqp.Channel._LISTENERS.items() - LISTENERS.items()
    assert {class_id << 16 | method_id for (class_id, method_id), _ in listened} & set(
        SIMPLE_METHODS
    ) == set()


def test_what_another_thread_has_read_is_seen_under_the_role(connection, reader):
    """It may come between a look and the taking of the role."""
    assert not reader.wait_for_more(reader._role.is_mine, NOW)
