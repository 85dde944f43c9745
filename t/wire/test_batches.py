"""Batches: how few writes they take, and that nothing waits for what has been put off."""

from __future__ import annotations

import os
import socket
import threading

import pytest
from pamqp import commands

import amqp
from amqp import Message, spec
from t.helpers.streams import FakeSocket
from t.helpers.threads import until

from .support import SOON, Background, drain_until
from .test_interrupts import attempts


def count_sends(connection):
    """Have the connection's socket count; a function that says how many sends there were."""
    sock = connection.transport.sock = FakeSocket(connection.transport.sock)
    return lambda: sum(name in ('send', 'sendmsg') for name, _ in sock.calls)


@pytest.fixture
def channel(peer, connect):
    peer.serve()
    return connect().channel()


@pytest.fixture
def sends(channel):
    return count_sends(channel.connection)


def test_a_thousand_acks_in_one_send(peer, channel, sends):
    with channel.connection.batch():
        for tag in range(1, 1001):
            channel.basic_ack(tag)
        assert sends() == 0
    assert sends() == 1
    acks = peer.wire().seen(commands.Basic.Ack, 1000)
    assert [ack.delivery_tag for ack in acks] == list(range(1, 1001))


def test_messages_in_as_many_sends_as_64_kib_make(peer, channel, sends):
    channel.connection._next_look = channel.connection._outbound.next_look = float('inf')
    body = b'b' * 1000
    with channel.connection.batch():
        for _ in range(300):
            channel.basic_publish(Message(body), '', 'q')
    octets = channel.connection.bytes_sent
    assert sends() <= octets // (60 * 1024) + 1
    assert [message.body for message in peer.wire().messages(300)] == [body] * 300


def test_consuming_and_acknowledging(peer, channel, sends):
    got = []

    def on_message(message):
        got.append(message.delivery_tag)
        channel.basic_ack(message.delivery_tag)

    channel.basic_consume('q', 'tag', callback=on_message)
    before = sends()
    for tag in range(1, 101):
        peer.wire().deliver(1, delivery_tag=tag)
    with channel.connection.batch():
        drain_until(channel.connection, lambda: len(got) == 100)
    assert sends() - before < 50
    acks = peer.wire().seen(commands.Basic.Ack, 100)
    assert [ack.delivery_tag for ack in acks] == list(range(1, 101))


def test_order_is_kept_whatever_the_size_and_the_way(peer, channel):
    sizes = [10, 70_000, 5, 200_000, 0, 131_064, 40_000, 64_000, 3]
    expected = []
    for batched in (True, False, True):
        bodies = [(b'%d %d ' % (batched, size)).ljust(size, b'b') for size in sizes]
        if batched:
            with channel.connection.batch():
                for number, body in enumerate(bodies):
                    timeout = SOON if number % 2 else None  # the short way, and the long one
                    channel.basic_publish(Message(body), '', 'q', timeout=timeout)
        else:
            for body in bodies:
                channel.basic_publish(Message(body), '', 'q')
        expected += bodies
    received = [message.body for message in peer.wire().messages(len(expected))]
    assert received == expected


# -- before a wait


def test_a_request_sends_what_comes_before_it(peer, channel, sends):
    with channel.connection.batch():
        channel.basic_ack(1)
        assert channel.queue_declare('q').queue == 'q'
        assert sends() == 1
    names = [frame.name for _, frame in peer.wire().received]
    assert names[-2:] == ['Basic.Ack', 'Queue.Declare']


@pytest.mark.parametrize('timeout', [0, 0.05])
def test_a_drain_sends_it(peer, channel, timeout):
    with channel.connection.batch():
        channel.basic_ack(1)
        with pytest.raises(TimeoutError):
            channel.connection.drain_events(timeout=timeout)
        peer.wire().seen(commands.Basic.Ack)


def test_a_drain_for_ever_sends_it(peer, channel):
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=got.append)
    with channel.connection.batch():
        channel.basic_ack(1)
        drainer = Background(channel.connection.drain_events)
        peer.wire().seen(commands.Basic.Ack)
        peer.wire().deliver(1)
        drainer.result()
    assert got


def test_waiting_for_a_confirm_sends_the_message(peer, channel):
    channel.confirm_select()
    with channel.connection.batch():
        channel.basic_publish(Message('one'), '', 'q')
        channel.basic_publish_confirm(Message('two'), '', 'q', confirm_timeout=SOON)
        assert len(peer.wire().messages(2)) == 2


@pytest.mark.parametrize('call', ['request', 'confirm', 'drain'])
def test_it_is_sent_where_another_thread_reads(peer, channel, call):
    connection = channel.connection
    channel.confirm_select()
    stop = threading.Event()

    def drain():
        while not stop.is_set():
            connection.drain_events()

    other = connection.channel()
    got = []
    other.basic_consume('q', 'tag', no_ack=True, callback=got.append)
    reader = Background(drain)
    until(lambda: not connection._reader._role.try_take() or connection._reader._role.step_down())
    with connection.batch():
        channel.basic_ack(1)
        if call == 'request':
            assert channel.queue_declare('q').queue == 'q'
        elif call == 'confirm':
            channel.basic_publish_confirm(Message('x'), '', 'q', confirm_timeout=SOON)
        else:
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0.05)
        peer.wire().seen(commands.Basic.Ack)
    stop.set()
    peer.wire().deliver(other.channel_id)
    reader.result()


def test_a_subclass_that_drains_in_its_own_way(peer, connect):
    seen = threading.Event()

    class Connection(amqp.Connection):
        def drain_events(self, timeout=None):
            if batched:
                peer.wire().seen(commands.Queue.Declare)
                seen.set()
            return super().drain_events(timeout)

    batched = False
    peer.serve()
    connection = connect(cls=Connection)
    channel = connection.channel()
    with connection.batch():
        batched = True
        assert channel.queue_declare('q').queue == 'q'
    assert seen.is_set()


def test_heartbeats_are_not_held_up(peer, connect):
    peer.serve(handshake={'heartbeat': 60}, heartbeats=False)
    connection = connect(heartbeat=60)
    sends = count_sends(connection)
    with connection.batch():
        connection.send_heartbeat()
        assert sends() == 1
        connection._heartbeat.last_sent -= 100
        connection.transport.sent_at -= 100
        connection.heartbeat_tick()
        assert sends() == 2


def test_the_answer_to_a_close_of_the_broker_is_sent(peer, channel):
    connection = channel.connection
    with pytest.raises(amqp.ConnectionForced) as caught, connection.batch():
        channel.basic_ack(1)
        peer.wire().send(0, commands.Connection.Close(320, 'shutdown', 0, 0))
        connection.drain_events(timeout=SOON)
    assert caught.value.reply_text == 'shutdown'
    peer.wire().seen(commands.Connection.CloseOk)


# -- ends of it


def test_an_exception_in_the_block_is_raised_and_all_is_sent(peer, channel):
    with pytest.raises(KeyError), channel.connection.batch():
        channel.basic_ack(1)
        raise KeyError
    peer.wire().seen(commands.Basic.Ack)
    channel.basic_ack(2)
    peer.wire().seen(commands.Basic.Ack, 2)


def test_close_within_it_sends_all(peer, channel):
    connection = channel.connection
    with connection.batch():
        channel.basic_ack(1)
        connection.close()
    names = [frame.name for _, frame in peer.finished().received]
    assert names[-2:] == ['Basic.Ack', 'Connection.Close']


def test_collect_within_it_says_what_was_lost(channel):
    connection = channel.connection
    with pytest.raises(amqp.RecoverableConnectionError), connection.batch():
        channel.basic_ack(1)
        connection.collect()
    with connection_is_dead(), connection.batch():
        raise AssertionError


def connection_is_dead():
    return pytest.raises(amqp.RecoverableConnectionError)


def test_collect_with_nothing_put_off_says_nothing(channel):
    with channel.connection.batch():
        channel.connection.collect()


def test_a_dead_stream_is_told_at_the_end_with_what_the_broker_said(peer, channel):
    connection = channel.connection
    with pytest.raises(amqp.ConnectionForced), connection.batch():
        channel.basic_ack(1)
        peer.wire().send(0, commands.Connection.Close(320, 'shutdown', 0, 0))
        connection.transport.sock.shutdown(socket.SHUT_WR)
    assert not connection.connected
    with connection_is_dead():
        channel.basic_ack(2)


def test_a_dead_stream_is_told_by_a_thread_that_waits(peer, channel):
    connection = channel.connection
    with connection_is_dead(), connection.batch():
        channel.basic_ack(1)
        connection.transport.sock.shutdown(socket.SHUT_WR)
        connection.drain_events(timeout=SOON)
    assert not connection.connected


def test_what_the_broker_does_not_take_stays_and_goes_first(connect, small_window_peer):
    peer = small_window_peer
    peer.serve()
    connection = connect(peer.host, write_timeout=0.1)
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    channel = connection.channel()
    channel.queue_purge('q')
    peer.wire().pause()
    bodies = []
    with pytest.raises(TimeoutError):
        while True:
            with connection.batch():
                for _ in range(20):
                    body = b'%d ' % len(bodies) * 200
                    channel.basic_publish(Message(body), '', 'q')
                    bodies.append(body)
    with pytest.raises(TimeoutError):
        channel.basic_publish(Message('not this one'), '', 'q')
    peer.wire().resume()
    connection.transport.write_timeout = SOON
    channel.basic_publish(Message('last'), '', 'q')
    received = [message.body for message in peer.wire().messages(len(bodies) + 1)]
    assert received == [*bodies, b'last']


def test_a_forked_child_sends_nothing(peer, channel):
    connection = channel.connection
    with connection.batch():
        channel.basic_ack(1)
        child = os.fork()
        if not child:
            try:
                connection.transport.end_batch(None)
                with connection.batch():
                    os._exit(1)
            except amqp.RecoverableConnectionError:
                connection.collect()
                os._exit(0)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        channel.basic_ack(2)
    assert channel.queue_purge('q') == 0
    assert [ack.delivery_tag for ack in peer.wire().seen(commands.Basic.Ack)] == [1, 2]


# -- confirms, and what goes wrong half-way


def test_numbers_of_confirms_are_kept(peer, channel):
    channel.confirm_select()
    acked = []
    channel.events['basic_ack'].add(lambda tag, multiple: acked.append(tag))
    with channel.connection.batch():
        for number in range(50):
            channel.basic_publish(Message(b'%d' % number), '', 'q')
            with pytest.raises(amqp.exceptions.EncodeError):
                channel.basic_publish(Message(b''), '', 'x' * 256)
        with channel.connection.transport._write_lock:
            # Another thread is writing: the long way is taken by this one.
            late = Background(channel.basic_publish, Message(b'late'), '', 'q')
            until(lambda: channel._confirm_mode.last_tag() == 51)
        late.result()
    channel.basic_publish_confirm(Message(b'sure'), '', 'q', confirm_timeout=SOON)
    drain_until(channel.connection, lambda: len(acked) == 52)
    assert acked == list(range(1, 53))


@pytest.mark.timeout(120, method='thread')
@pytest.mark.parametrize('confirming', [False, True])
@pytest.mark.parametrize('round_', range(6))
def test_storm_in_a_batch(peer, connect, round_, confirming):
    """A batch is whole or the connection broken; a confirm is never another message's."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    if confirming:
        channel.confirm_select()
    numbers = iter(range(1_000_000))
    returned = []

    def publish():
        number = next(numbers)
        channel.basic_publish(Message(b'%d' % number * 200), '', 'q')
        returned.append(number)

    def batch():
        with connection.batch():
            for _ in range(40):
                publish()

    _, _, error = attempts(batch, 60, 0.0005 + round_ * 0.0004)
    if error is None and connection.connected:
        channel.basic_publish(Message(b'last'), '', 'q')
        if confirming:
            channel.basic_publish_confirm(Message(b'sure'), '', 'q', confirm_timeout=SOON)
        assert channel.queue_purge('q') == 0
        assert not connection.transport._batches
        assert peer.wire().published[-1 - confirming].body == b'last'
    else:
        peer.finished()
    bodies = [message.body for message in peer.wire().published]
    expected = {b'%d' % number * 200: number for number in range(next(numbers))}
    got = [expected[body] for body in bodies if body not in (b'last', b'sure')]
    assert got == sorted(set(got))
    if error is None and connection.connected:
        assert set(returned) <= set(got)


def test_two_threads_of_which_one_batches(peer, channel):
    connection = channel.connection
    other = connection.channel()

    def publish():
        for number in range(500):
            other.basic_publish(Message(b'%d' % number), '', 'other')

    thread = Background(publish)
    for start in range(0, 500, 50):
        with connection.batch():
            for number in range(start, start + 50):
                channel.basic_publish(Message(b'%d' % number), '', 'mine')
    thread.result()
    published = peer.wire().messages(1000)
    for key in ('mine', 'other'):
        bodies = [each.body for each in published if each.method.routing_key == key]
        assert bodies == [b'%d' % number for number in range(500)]


def test_messages_of_threads_that_contend(peer, channel):
    """The short way fails where another thread writes: each message arrives once, in order."""
    channels = [channel, *(channel.connection.channel() for _ in range(3))]

    def publish(each):
        for number in range(300):
            body = b'%d' % number + b' ' * (20_000 if number % 20 == 0 else 0)
            each.basic_publish(Message(body), '', 'q')
            each.basic_ack(number)

    threads = [Background(publish, each) for each in channels]
    for thread in threads:
        thread.result()
    published = peer.wire().messages(1200)
    for each in channels:
        mine = [int(message.body) for message in published if message.channel == each.channel_id]
        assert mine == list(range(300))
        acks = peer.wire().seen(commands.Basic.Ack, 300, each.channel_id)
        assert [ack.delivery_tag for ack in acks] == list(range(300))


# -- what others put in the way is asked


def test_a_connection_lost_between_two_looks(channel):
    """`collect` of another thread, right behind the look at the connection."""
    connection = channel.connection
    outbound, transport = connection._outbound, connection.transport
    connection.collect()
    for _ in range(2):
        with connection_is_dead():
            outbound.settle(1, spec.Basic.Ack, 1, 0)
        transport.begin_batch(None)


def test_a_getter_of_the_writer_overridden(peer, connect):
    written = []

    class Connection(amqp.Connection):
        @property
        def frame_writer(self):
            def write(*frame):
                written.append(frame[2])
                return amqp.Connection.frame_writer.fget(self)(*frame)

            return write

        @frame_writer.setter
        def frame_writer(self, frame_writer):
            amqp.Connection.frame_writer.fset(self, frame_writer)

    peer.serve()
    channel = connect(cls=Connection).channel()
    channel.basic_publish(Message('x'), '', 'q', timeout=None)
    channel.basic_ack(1)
    peer.wire().seen(commands.Basic.Ack)
    assert written[-2:] == [spec.Basic.Publish, spec.Basic.Ack]


def test_a_writer_set_while_the_connection_is_open(peer, channel):
    connection = channel.connection
    written = []
    own = connection.frame_writer

    def write(*frame):
        written.append(frame[2])
        return own(*frame)

    for name in ('frame_writer', '_frame_writer'):
        setattr(connection, name, write)
        channel.basic_publish(Message('x'), '', 'q')
        channel.basic_reject(1, False)
        setattr(connection, name, own)
        channel.basic_ack(2)
    assert written == [spec.Basic.Publish, spec.Basic.Reject] * 2
    peer.wire().seen(commands.Basic.Ack, 2)


def test_a_writer_that_belongs_to_something_else(peer, connect):
    """A method of a caller's object, which takes no attributes of ours."""

    class Writer:
        __slots__ = ('write',)

        def __init__(self, connection, transport):
            self.write = amqp.method_framing.frame_writer(connection, transport)

        def write_frame(self, *frame):
            self.write(*frame)

    peer.serve()
    channel = connect(
        frame_writer=lambda connection, transport: Writer(connection, transport).write_frame
    ).channel()
    channel.basic_publish(Message('x'), '', 'q')
    assert len(peer.wire().messages(1)) == 1


def test_send_method_overridden(peer, connect):
    sent = []

    class Channel(amqp.Channel):
        def send_method(self, sig, *args, **kwargs):
            sent.append(sig)
            return super().send_method(sig, *args, **kwargs)

    class Connection(amqp.Connection):
        pass

    Connection.Channel = Channel
    peer.serve()
    channel = connect(cls=Connection).channel()
    channel.basic_ack(1)
    channel.basic_reject(2, True)
    channel.basic_nack(3)
    assert sent[-3:] == [spec.Basic.Ack, spec.Basic.Reject, spec.Basic.Nack]


def test_formats_of_the_callers(peer, channel):
    channel.basic_ack(1, argsig='Lb')
    channel.basic_ack(2, True, ''.join(['L', 'b']))
    channel.basic_publish(Message('x'), '', 'q', argsig=''.join(['Bss', 'bb']))
    assert channel.queue_purge('q') == 0
    assert [ack.multiple for ack in peer.wire().seen(commands.Basic.Ack, 2)] == [False, True]


@pytest.mark.parametrize('batched', [False, True])
def test_a_mandatory_message_in_confirm_mode_is_told_from_its_likes(peer, connect, batched):
    returned = commands.Basic.Return(312, 'NO_ROUTE', 'e', 'none')

    def confirm(wire, channel, frame):
        number.append(None)
        if frame.mandatory:
            wire.send_content(channel, returned, b'body')

    number = []
    peer.serve(on={commands.Basic.Publish: confirm})
    connection = connect(confirm_publish=True)
    channel = connection.channel()

    def publish():
        channel.basic_publish(Message(b'body'), 'e', 'one')
        with pytest.raises(amqp.NoRoute):
            channel.basic_publish(Message(b'body'), 'e', 'none', mandatory=True)

    if batched:
        with connection.batch():
            publish()
    else:
        publish()
    assert len(number) == 2


def test_a_blocked_connection_takes_the_long_way(peer, connect):
    peer.serve()
    connection = connect(blocked_timeout=0.05)
    channel = connection.channel()
    peer.wire().send(0, commands.Connection.Blocked('low on memory'))
    until(lambda: connection._blocked_reason or connection._reader.look(1))
    with pytest.raises(amqp.exceptions.Blocked, match='low on memory'), connection.batch():
        channel.basic_ack(1)
        channel.basic_publish(Message('x'), '', 'q')
    peer.wire().seen(commands.Basic.Ack)
    assert not peer.wire().published


def test_channel_flow_holds_up_publishing_and_not_acks(peer, connect):
    peer.serve()
    connection = connect(blocked_timeout=0.05)
    channel = connection.channel()
    peer.wire().send(1, commands.Channel.Flow(False))
    until(lambda: not channel.active or connection._reader.look(1))
    with pytest.raises(amqp.exceptions.Blocked, match='takes no messages: channel'):
        channel.basic_publish(Message('x'), '', 'q')
    channel.basic_ack(1)
    peer.wire().seen(commands.Basic.Ack)


@pytest.mark.parametrize('whole', [False, True])
@pytest.mark.parametrize('name', ['basic_publish', 'basic_ack'])
def test_an_error_of_the_channel_is_raised_before_anything_is_sent(peer, channel, name, whole):
    peer.wire().send(1, commands.Channel.Close(404, 'no queue', 60, 40))
    until(lambda: channel._unreported or channel.connection._reader.look(1))
    args = (Message('x'), '', 'q') if name == 'basic_publish' else (1,)
    with pytest.raises(amqp.NotFound):
        getattr(channel, name)(*args)
    assert not peer.wire().published
