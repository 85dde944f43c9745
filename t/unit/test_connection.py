"""Connections, over real bytes: what can be asked of one, who is woken, and how it ends."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from pamqp import commands, heartbeat

import amqp
from amqp import connection as module
from amqp import frame_reader as frame_reader_module
from amqp import sasl, spec, writing_connection
from amqp import transport as transport_module
from amqp.connection import Connection
from amqp.method_framing import frame_handler, frame_writer
from amqp.states import ConnectionState
from t.helpers.peer import Peer, marshal, raw_frame
from t.helpers.threads import Background, until

CLOSE = commands.Connection.Close(320, 'CONNECTION_FORCED - bye', 0, 0)
LOST = amqp.RecoverableConnectionError


@pytest.fixture
def connection(peer, connect):
    peer.serve()
    return connect()


@pytest.fixture
def wire(peer, connection):
    return peer.wire()


# -- before it is connected


def test_what_a_new_one_is():
    connection = Connection('rabbit:5673', virtual_host='/v')
    assert not connection.connected
    assert not connection.is_alive()
    assert not connection.is_closing
    assert connection.channels == {0: connection}
    assert connection.server_properties == connection.server_capabilities == {}
    assert (connection.bytes_sent, connection.bytes_recv) == (0, 0)
    assert (connection.prev_sent, connection.prev_recv) == (0, 0)
    assert repr(connection).startswith('<AMQP Connection: rabbit:5673//v (new) at 0x')


def test_unknown_arguments_are_swallowed():
    assert Connection(insist=True, transport_options={}, whatever=1).host == 'localhost:5672'


@pytest.mark.parametrize('frame_max', [1, 4095])
def test_a_frame_max_that_no_broker_takes(frame_max):
    with pytest.raises(ValueError, match=f'frame_max {frame_max} is below the least, 4096'):
        Connection(frame_max=frame_max)


def test_who_logs_in():
    assert isinstance(Connection(login_method='EXTERNAL').authentication[0], sasl.EXTERNAL)
    plain = sasl.PLAIN('a', 'b')
    assert Connection(authentication=plain).authentication == (plain,)
    assert Connection(authentication=[plain]).authentication == (plain,)
    kinds = [type(each) for each in Connection(ssl={'certfile': 'x'}).authentication]
    assert kinds.index(sasl.EXTERNAL) < kinds.index(sasl.PLAIN)
    kinds = [type(each) for each in Connection(ssl={'ca_certs': 'x'}).authentication]
    assert kinds.index(sasl.EXTERNAL) > kinds.index(sasl.PLAIN)


def test_names_of_the_module():
    import ssl

    assert module.SSLError is ssl.SSLError
    assert module.AMQP_LOGGER.name == 'amqp'
    assert module.AMQP_HEARTBEAT_LOGGER.name == 'amqp.connection.Connection.heartbeat_tick'
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        module.nonsense  # noqa: B018


# -- connecting


def test_its_life(peer):
    peer.serve()
    opened = []
    connection = Connection(peer.host, on_open=opened.append)
    assert connection.connect(lambda: 'called') == 'called'
    assert opened == [connection]
    assert connection.connected
    assert connection.is_alive()
    assert connection.sock is connection.transport.sock
    assert '(open)' in repr(connection)
    assert connection.connect() is None  # it is: only the callback is called
    connection.close()
    assert not connection.connected
    assert not connection.is_alive()
    assert '(closed)' in repr(connection)
    connection.close()
    with pytest.raises(LOST, match='already closed'):
        connection.connect()
    with pytest.raises(LOST, match='already closed'):
        connection.channel()


def test_as_a_block(peer):
    peer.serve()
    with Connection(peer.host) as connection:
        assert connection.is_alive()
    assert not connection.connected
    assert peer.wire().seen(commands.Connection.Close)


def test_nobody_listens(peer):
    peer.refuse()
    connection = Connection(peer.host, connect_timeout=5)
    with pytest.raises(ConnectionRefusedError):
        connection.connect()
    with pytest.raises(LOST, match='connection lost: '):
        connection.channel()


@pytest.mark.parametrize(
    'options', [{'connect_timeout': 0.05}, {'connect_timeout': None, 'rpc_timeout': 0.05}]
)
def test_a_mute_listener(peer, options):
    @peer.script
    def _(wire):
        wire.next_bytes(8)

    with pytest.raises(TimeoutError, match=rf'connecting to {peer.host}, awaiting start'):
        Connection(peer.host, **options).connect()


def test_makers_of_frames_that_a_caller_brings(peer):
    peer.serve()
    taken, sent = [], []

    def handler(connection, callback, **kwargs):
        take = frame_handler(connection, callback, **kwargs)

        def on_frame(frame):
            taken.append(frame[0])
            return take(frame)

        return on_frame

    def writer(connection, transport):
        write = frame_writer(connection, transport)

        def write_frame(frame_type, channel, method_sig, args, content):
            sent.append(method_sig)
            write(frame_type, channel, method_sig, args, content)
            connection.bytes_sent += 1  # as those of py-amqp do
            connection.bytes_recv += 1

        return write_frame

    with Connection(peer.host, frame_handler=handler, frame_writer=writer) as connection:
        connection.channel().basic_publish(amqp.Message(b'x'), timeout=5)
        assert connection.bytes_sent == connection.transport.bytes_sent
        assert connection.bytes_recv == connection.transport.bytes_recv
    assert taken
    assert sent[0] == spec.Connection.StartOk
    assert spec.Basic.Publish in sent


def test_what_a_subclass_may_replace(peer):
    peer.serve()
    made = []

    class Channel(amqp.Channel):
        pass

    class Sub(Connection):
        def Transport(self, host, connect_timeout, **kwargs):
            made.append(host)
            return super().Transport(host, connect_timeout, **kwargs)

        def on_inbound_method(self, *args):
            made.append(args[1])
            super().on_inbound_method(*args)

    Sub.Channel = Channel
    with Sub(peer.host) as connection:
        assert type(connection.channel()) is Channel
    assert made[:2] == [peer.host, spec.Connection.Start]


def test_a_subclass_that_drains_in_its_own_way(peer):
    """Its waits go through its `drain_events`, and its reads through its `blocking_read`."""
    peer.serve()
    calls = []

    class Sub(Connection):
        def drain_events(self, timeout=None):
            calls.append('drain')
            while not self.blocking_read(timeout):
                pass

        def blocking_read(self, timeout=None):
            calls.append('read')
            return super().blocking_read(timeout)

    with Sub(peer.host) as connection:
        assert connection.channel().queue_declare('q').queue == 'q'
    assert {'drain', 'read'} == set(calls)


def test_a_subclass_that_reads_in_its_own_way(peer):
    peer.serve()
    calls = []

    class Sub(Connection):
        def blocking_read(self, timeout=None):
            calls.append('read')
            return super().blocking_read(timeout)

    with Sub(peer.host) as connection:
        connection.channel().queue_declare('q')
    assert calls


# -- channels


def test_numbers_of_channels(peer, connect):
    peer.serve(handshake={'channel_max': 3})
    connection = connect()
    channels = [connection.channel() for _ in range(3)]
    assert [channel.channel_id for channel in channels] == [1, 2, 3]
    with pytest.raises(amqp.ResourceError, match='all 3 channel ids are in use'):
        connection.channel()
    channels[1].close()
    assert connection.channel().channel_id == 2
    for number in (0.5, 'x', 4, -1):
        with pytest.raises(amqp.ConnectionError):
            connection.channel(number)
    assert connection.channel(0) is connection


def test_a_method_on_a_channel_that_never_was(connection, wire):
    wire.send(9, commands.Queue.PurgeOk(1))
    with pytest.raises(amqp.ChannelNotOpen, match='channel 9 is not open'):
        connection.drain_events(timeout=5)


def test_a_channel_that_rests_until_the_broker_lets_go(peer, connect):
    peer.serve(mute=[commands.Channel.Close])
    connection = connect(rpc_timeout=0.05)
    wire = peer.wire()
    channel = connection.channel()
    with pytest.raises(amqp.RPCTimeout):
        channel.close()
    connection.rpc_timeout = 5
    assert connection.channel().channel_id == 2
    wire.deliver(1, 'late')
    wire.send(1, commands.Channel.Close(404, 'crossed', 0, 0))
    wire.send(1, commands.Channel.CloseOk())
    connection.channels[2].queue_declare('q')
    assert wire.seen(commands.Channel.CloseOk, channel=1)
    assert 1 not in connection._registry.ids


def test_channels_that_many_threads_let_go_of(peer, connect):
    peer.serve()
    connection = connect()
    channels = [connection.channel() for _ in range(20)]
    threads = [Background(lambda: [channel.collect() for channel in channels]) for _ in range(4)]
    for thread in threads:
        thread.result()
    assert connection.channels == {0: connection}


# -- draining


def test_one_event_for_each_drain(connection, wire):
    seen = []
    connection.channel().basic_consume('q', 'tag', callback=seen.append, no_ack=True)
    for number in range(3):
        wire.deliver(1, 'tag', number)
    until(connection.transport.data_is_waiting)
    for count in (1, 2, 3):
        connection.drain_events(timeout=5)
        assert len(seen) == count
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0)


@pytest.mark.parametrize('how', ['argument', 'read_timeout', 'settimeout'])
def test_the_time_for_a_drain(peer, connect, how):
    peer.serve()
    connection = connect(read_timeout=0.05 if how == 'read_timeout' else None)
    if how == 'settimeout':
        connection.sock.settimeout(0.05)
    began = time.monotonic()
    with pytest.raises(socket.timeout):
        connection.drain_events(0.05 if how == 'argument' else None)
    assert 0.05 <= time.monotonic() - began < 5


def test_heartbeats_do_not_restart_the_time(connection, wire):
    stop = threading.Event()

    def beat():
        while not stop.wait(0.01):
            wire.heartbeat()

    beating = Background(beat)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.1)
    assert 0.1 <= time.monotonic() - began < 5
    stop.set()
    beating.result()


def test_waiting_threads_are_woken_by_the_one_that_reads(connection, wire):
    channels = [connection.channel() for _ in range(8)]
    drainer = Background(connection.drain_events)
    until(lambda: connection.transport._waiting)
    calls = [Background(channel.queue_declare, 'q') for channel in channels]
    for call in calls:
        assert call.result().queue == 'q'
    wire.eof()
    assert isinstance(drainer.error(), (LOST, type(None)))


def test_callbacks_run_where_somebody_drains(connection, wire):
    where = []
    channel = connection.channel()
    channel.basic_consume(
        'q', 'tag', callback=lambda _: where.append(threading.get_ident()), no_ack=True
    )
    ready = threading.Event()

    def drain():
        ready.set()
        until(lambda: where or connection.drain_events(timeout=5))
        return threading.get_ident()

    drainer = Background(drain)
    assert ready.wait(10)
    until(lambda: connection.transport._waiting)
    wire.deliver(1, 'tag')
    channel.queue_declare('q')
    assert where == [drainer.result()]


def test_no_lock_is_held_while_a_callback_runs(connection, wire):
    """Another thread may use all of it meanwhile."""
    channel = connection.channel()
    found = []

    def callback(message):
        other = Background(lambda: (channel.queue_declare('q'), connection.channel()))
        found.append(other.result()[0].queue)
        channel.basic_ack(message.delivery_tag)

    channel.basic_consume('q', 'tag', callback=callback)
    wire.deliver(1, 'tag', 5)
    connection.drain_events(timeout=5)
    assert found == ['q']
    assert wire.seen(commands.Basic.Ack)[0].delivery_tag == 5


def test_a_frame_at_a_time(connection, wire):
    wire.heartbeat()
    wire.send(0, commands.Connection.Unblocked())
    assert connection.blocking_read(timeout=5) is False
    assert connection.blocking_read(timeout=5) is True
    with pytest.raises(TimeoutError):
        connection.blocking_read(timeout=0)


def test_a_frame_at_a_time_beside_another_reader(connection, wire):
    assert connection._reader._role.try_take()
    other = Background(connection.blocking_read, 0.02)
    assert other.result() is False
    connection._reader._role.step_down()
    assert connection._reader._role.try_take()
    other = Background(connection.blocking_read)
    until(lambda: connection._reader._role._waiting)
    connection.collect()
    assert isinstance(other.error(), LOST)


# -- blocked


def test_blocked_and_unblocked(peer, connect):
    peer.serve()
    seen = []
    connection = connect(
        on_blocked=seen.append, on_unblocked=lambda: seen.append('unblocked'), blocked_timeout=5
    )
    wire, channel = peer.wire(), connection.channel()
    wire.send(0, commands.Connection.Blocked('low on memory'))
    connection.drain_events(timeout=5)
    assert seen == ['low on memory']
    publishing = Background(channel.basic_publish, amqp.Message(b'x'))
    until(lambda: connection.transport._waiting)
    wire.send(0, commands.Connection.Unblocked())
    publishing.result()
    assert wire.messages(1)
    connection._wait_until(lambda: len(seen) == 2, module.Deadline(0, time.monotonic()))
    assert seen == ['low on memory', 'unblocked']


def test_blocked_for_too_long(connection, wire):
    connection.blocked_timeout = 0.05
    channel = connection.channel()
    wire.send(0, commands.Connection.Blocked('low on disk'))
    until(connection.transport.data_is_waiting)
    connection._next_look = 0.0
    with pytest.raises(amqp.Blocked, match=r'low on disk \(waited 0\.05 s\)'):
        channel.basic_publish(amqp.Message(b'x'))
    with pytest.raises(TimeoutError, match='low on disk'):
        channel.basic_publish(amqp.Message(b'x'), timeout=0.01)
    channel.queue_declare('q')  # is not held up


@pytest.mark.parametrize('error', [TimeoutError, KeyError])
def test_a_callback_that_raises_while_a_publish_is_blocked(connection, wire, error):
    def callback(message):
        raise error('mine')

    channel = connection.channel()
    channel.basic_consume('q', 'tag', callback=callback, no_ack=True)
    wire.send(0, commands.Connection.Blocked('x'))
    until(connection.transport.data_is_waiting)
    connection.blocking_read(timeout=5)
    wire.deliver(1, 'tag')
    with pytest.raises(error, match='mine'):
        channel.basic_publish(amqp.Message(b'x'))


# -- heartbeats


def test_a_silent_peer_ends_a_wait(peer, connect):
    peer.serve(handshake={'heartbeat': 1}, heartbeats=False)
    connection = connect(heartbeat=1)
    began = time.monotonic()
    with pytest.raises(amqp.ConnectionForced, match='Too many heartbeats missed'):
        connection.drain_events()
    assert 1.5 < time.monotonic() - began < 6
    assert len(peer.wire().seen(heartbeat.Heartbeat, 2)) >= 2
    with pytest.raises(LOST, match='Too many heartbeats'):
        connection.heartbeat_tick()


def test_a_peer_that_dies_within_a_frame_ends_a_wait(peer, connect):
    peer.serve(handshake={'heartbeat': 1}, heartbeats=False)
    connection = connect(heartbeat=1)
    peer.wire().send_raw(b'\x01\x00\x00')
    began = time.monotonic()
    with pytest.raises(amqp.ConnectionForced):
        connection.drain_events()
    assert time.monotonic() - began < 6


@pytest.fixture
def clock(monkeypatch):
    """A clock for the connection that the test sets."""

    class Clock:
        now = time.monotonic()

        def monotonic(self):
            return self.now

    made = Clock()
    return made, lambda: monkeypatch.setattr(writing_connection, 'time', made)


def test_ticks(peer, connect, clock):
    clock, start = clock
    peer.serve(handshake={'heartbeat': 10}, heartbeats=False)
    connection = connect(heartbeat=10)
    clock.now = time.monotonic()
    start()
    wire = peer.wire()
    connection.heartbeat_tick()
    sent = connection.last_heartbeat_sent
    clock.now += 4
    connection.heartbeat_tick()
    assert connection.last_heartbeat_sent == sent
    assert connection.prev_sent == connection.bytes_sent
    assert connection.prev_recv == connection.bytes_recv
    clock.now += 1.5
    connection.heartbeat_tick(rate=2)
    assert len(wire.seen(heartbeat.Heartbeat)) == 1
    assert connection.last_heartbeat_sent > sent
    # Data is a sign of life when it comes, though it waits unread.
    for count in range(1, 11):
        wire.heartbeat()
        until(lambda count=count: len(connection.sock.recv(200, socket.MSG_PEEK)) == 8 * count)
        clock.now += 25
        connection.heartbeat_tick()
        assert clock.now == connection.last_heartbeat_received
    clock.now += 25
    with pytest.raises(amqp.ConnectionForced, match='Too many heartbeats missed'):
        connection.heartbeat_tick()
    assert not connection.connected


def test_a_heartbeat_as_a_probe(connection, wire):
    connection.send_heartbeat()
    assert wire.seen(heartbeat.Heartbeat)
    connection.blocking_read(timeout=5)  # its answer
    wire.reset()
    until(lambda: not connection.is_alive())
    with pytest.raises(LOST):
        until(lambda: connection.send_heartbeat())


# -- close


def test_a_close_with_a_reason(connection, wire):
    connection.close(541, 'why', (60, 40))
    (sent,) = wire.seen(commands.Connection.Close)
    assert (sent.reply_code, sent.reply_text) == (541, 'why')
    assert (sent.class_id, sent.method_id) == (60, 40)


def test_closed_by_the_broker(connection, wire):
    channel = connection.channel()
    wire.send(0, CLOSE)
    with pytest.raises(amqp.ConnectionForced, match='bye') as caught:
        connection.drain_events(timeout=5)
    assert caught.value.reply_code == 320
    assert wire.seen(commands.Connection.CloseOk)
    with pytest.raises(LOST, match='bye'):
        connection.channel()
    with pytest.raises(LOST) as caught:
        channel.queue_declare('q')
    assert isinstance(caught.value.__cause__, amqp.ConnectionForced)
    assert channel.connection is None
    assert connection._state.state is ConnectionState.CLOSED


def test_both_sides_close_at_once(peer, connect):
    peer.serve(on={commands.Connection.Close: lambda wire, number, _: wire.send(0, CLOSE)})
    connection = connect()
    connection.close()
    assert peer.wire().seen(commands.Connection.CloseOk)


def test_what_comes_while_closing_is_discarded(peer, connect):
    def late(wire, number, _):
        wire.deliver(1, 'tag')
        wire.send(0, commands.Connection.Blocked('x'))
        wire.send(9, commands.Queue.PurgeOk(1))
        wire.deliver(9, 'tag')
        wire.send(0, commands.Connection.CloseOk())

    peer.serve(on={commands.Connection.Close: late})
    seen = []
    connection = connect(on_blocked=seen.append)
    connection.channel().basic_consume('q', 'tag', callback=seen.append, no_ack=True)
    connection.close()
    assert seen == []


def test_a_close_ends_the_waits_of_other_threads(peer, connect):
    peer.serve(mute=[commands.Queue.Purge])
    connection = connect()
    purge = Background(connection.channel().queue_purge, 'q')
    peer.wire().seen(commands.Queue.Purge)
    connection.close()
    assert isinstance(purge.error(), LOST)


def test_an_overdue_close_ok(peer, connect):
    peer.serve(mute=[commands.Connection.Close])
    connection = connect(rpc_timeout=0.05)
    with pytest.raises(LOST, match=r'no Connection.CloseOk within 0\.05 s'):
        connection.close()
    assert not connection.connected


def test_update_secret(connection, wire):
    connection.update_secret('new', 'expired')
    (sent,) = wire.seen(commands.Connection.UpdateSecret)
    assert (sent.new_secret, sent.reason) == ('new', 'expired')


def test_the_last_words_of_the_broker_are_heard_by_a_writer(connection, wire):
    channel = connection.channel()
    wire.send(0, CLOSE)
    wire.eof()
    until(connection.transport.data_is_waiting)

    def broken(*args):
        raise BrokenPipeError(32, 'Broken pipe')

    connection.frame_writer = broken
    with pytest.raises(amqp.ConnectionForced, match='bye'):
        channel.basic_ack(1)


@pytest.mark.parametrize(
    'use',
    [
        lambda channel: channel.basic_ack(1),
        lambda channel: channel.queue_declare('q'),
        lambda channel: channel.basic_publish(amqp.Message(b'x')),
        lambda channel: channel.basic_publish(amqp.Message(b'x'), timeout=5),
        lambda channel: channel.connection.update_secret('x', 'y'),
        lambda channel: channel.wait(spec.Queue.PurgeOk),  # closes the channel when it is overdue
    ],
)
def test_a_writer_that_waits_for_the_last_words_holds_no_lock(connection, wire, use, monkeypatch):
    """Who reads them may need it, to answer the close of a channel."""
    monkeypatch.setattr(frame_reader_module, 'LAST_WORDS_PATIENCE', 60)
    channel, role = connection.channel(), connection._reader._role
    connection.rpc_timeout = 0.02
    tried = threading.Event()

    def broken(*args):
        tried.set()
        raise BrokenPipeError(32, 'Broken pipe')

    connection.frame_writer = broken
    assert role.try_take()
    writing = Background(use, channel)
    assert tried.wait(10)
    until(lambda: role._waiting)
    for each in (channel, connection):
        assert each._send_lock.acquire(blocking=False)
        each._send_lock.release()
    wire.send(0, CLOSE)
    until(connection.transport.data_is_waiting)
    role.step_down()
    assert isinstance(writing.error(), (amqp.ConnectionForced, amqp.RPCTimeout))
    with pytest.raises(LOST, match='bye'):
        connection.channel()


def test_a_write_that_fails_ends_the_connection(connection):
    channel = connection.channel()

    def broken(*args):
        raise BrokenPipeError(32, 'Broken pipe')

    connection.frame_writer = broken
    with pytest.raises(LOST, match='Broken pipe') as caught:
        channel.basic_ack(1)
    assert isinstance(caught.value.__cause__, BrokenPipeError)
    assert not connection.connected


def test_a_write_that_is_interrupted_before_it_began_does_not(connection):
    channel, write = connection.channel(), connection.frame_writer

    def interrupted(*args):
        raise KeyboardInterrupt

    connection.frame_writer = interrupted
    with pytest.raises(KeyboardInterrupt):
        channel.queue_declare('q')
    connection.frame_writer = write
    assert channel.queue_declare('q').queue == 'q'


def test_a_write_that_is_interrupted_when_it_has_left_does(connection):
    channel, write = connection.channel(), connection.frame_writer

    def interrupted(*args):
        write(*args)
        raise KeyboardInterrupt

    connection.frame_writer = interrupted
    with pytest.raises(KeyboardInterrupt):
        channel.queue_declare('q')
    assert not connection.connected
    with pytest.raises(LOST, match='interrupted by KeyboardInterrupt'):
        connection.channel()


def test_a_frame_that_is_read_and_not_acted_upon_breaks_the_connection(connection, wire):
    """What a signal handler raises in between would put everything out of step."""

    def interrupted(frame):
        raise KeyboardInterrupt

    connection.on_inbound_frame = interrupted
    wire.heartbeat()
    with pytest.raises(KeyboardInterrupt):
        connection.drain_events(timeout=5)
    assert not connection.connected


def test_the_peer_neither_answers_nor_reads(peer, connect, monkeypatch):
    monkeypatch.setattr(module, 'ANSWER_PATIENCE', 0.02)
    peer.serve(mute=[commands.Queue.Purge])
    connection = connect(rpc_timeout=0.05)
    channel = connection.channel()
    busy = connection.transport._write_lock
    call = Background(channel.queue_purge, 'q')
    peer.wire().seen(commands.Queue.Purge)
    busy.acquire()
    assert isinstance(call.error(), amqp.AMQPError)
    busy.release()
    assert not connection.connected


# -- TLS


def test_an_rpc_over_tls_leaves_no_frame_unseen(tmp_path):
    """What OpenSSL has decrypted no event loop can see: it is handled before the call returns."""
    import ssl

    import trustme

    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('127.0.0.1').configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)

    def declare(wire, number, asked):
        burst = [commands.Queue.DeclareOk('q', 0, 0), commands.Channel.Flow(False)]
        wire.send_raw(marshal(number, *burst))

    with Peer(tls=server) as peer:
        peer.serve(on={commands.Queue.Declare: declare})
        with Connection(peer.host, ssl=client) as connection:
            channel = connection.channel()
            channel.queue_declare('q')
            assert channel.active is False
            assert not connection.transport.holds_data()
            assert transport_module.SSLTransport is type(connection.transport)


# -- bytes that are no frames


def test_a_broken_frame_ends_it_for_all(peer, connect):
    peer.serve(mute=[commands.Queue.Purge])
    connection = connect()
    call = Background(connection.channel().queue_purge, 'q')
    peer.wire().seen(commands.Queue.Purge)
    peer.wire().send_raw(raw_frame(1, 1, b'\x00\x32\x00\x1f', end=0))
    error = call.error()
    assert isinstance(error, (amqp.FrameError, LOST))
    assert not connection.connected
    with pytest.raises(LOST, match='ends in octet 0x00'):
        connection.drain_events()


def test_whether_it_is_open_closed_or_blocked(connection, wire):
    assert (connection.is_open, connection.is_closed, connection.is_blocked) == (True, False, False)
    channel = connection.channel()
    assert not channel.is_closed
    wire.send(0, commands.Connection.Blocked('low on memory'))
    connection.drain_events(timeout=5)
    assert connection.is_blocked
    channel.close()
    assert channel.is_closed
    connection.collect()
    assert (connection.is_open, connection.is_closed) == (False, True)


@pytest.mark.parametrize('offered', [True, False])
def test_what_the_broker_offers(peer, connect, offered):
    names = [name for name in dir(amqp.Connection) if name.endswith('_supported')]
    assert len(names) == 7
    peer.serve(handshake={} if offered else {'capabilities': {}})
    connection = connect()
    assert {name: getattr(connection, name) for name in names} == dict.fromkeys(names, offered)
