"""Reading for everybody: who reads, what is left in user space, how heartbeats are kept up."""

from __future__ import annotations

import pytest
from pamqp import commands, heartbeat

import amqp
from amqp import frame_reader as module
from amqp.deadline import Deadline
from amqp.frame_reader import FrameReader
from t.helpers.peer import delivery
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
    assert reader.advance(lambda: False, FOR_EVER, greedy=True)
    assert len(connection._events) == 1
    assert reader.advance(lambda: False, FOR_EVER, greedy=True)
    assert len(connection._events) == 2
    assert seen == []
    with pytest.raises(TimeoutError):
        reader.advance(lambda: False, NOW, greedy=True)


def test_who_has_what_it_waits_for_does_not_read(connection, reader, wire):
    wire.send(0, commands.Connection.Unblocked())
    waiting(connection)
    assert not reader.advance(lambda: True, FOR_EVER, greedy=False)
    assert connection.transport.data_is_waiting()


def test_who_waits_on_a_lost_connection_is_told(connection, reader):
    assert reader._role.try_take()
    other = Background(reader.advance, lambda: False, FOR_EVER, False)
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

    def again():
        ran.append(None)
        with connection._events.collecting():
            connection._events.add(connection, again)

    with connection._events.collecting():
        connection._events.add(connection, again)
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
    assert reader.read_one(Deadline(SOON, 1e12)) is False


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
    assert Background(connection.blocking_read, 0.01).result() is False
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


@pytest.mark.parametrize(
    'use',
    [
        lambda reader: reader.advance(lambda: False, FOR_EVER, greedy=True),
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
