"""How a connection ends, who is told, and what can still be asked of it then."""

from __future__ import annotations

import gc
import os
import signal
import threading
from contextlib import ExitStack

import pytest
from pamqp import commands

import amqp
from amqp.abstract_transport import _EarlierFrameCutOff
from amqp.connection import Connection
from amqp.locks import OwnedLock
from amqp.single_use_connection import SingleUseConnection
from amqp.states import ConnectionState
from t.helpers.threads import Background, Interrupted

LOST = amqp.RecoverableConnectionError


@pytest.fixture
def connection(peer, connect):
    peer.serve()
    return connect()


@pytest.fixture
def wire(peer, connection):
    return peer.wire()


def test_one_without_the_methods_of_amqp():
    bare = SingleUseConnection(3)
    assert bare.channels == {0: bare}
    assert not bare.connected
    assert not bare.is_alive()
    assert not bare.is_closing
    bare.collect()
    assert bare.channels == {}
    assert bare._state.state is ConnectionState.CLOSED


@pytest.mark.parametrize(
    'use',
    [
        lambda c: c.transport,
        lambda c: c.sock,
        lambda c: c.frame_writer,
        lambda c: c.on_inbound_frame,
        lambda c: c.channel(),
        lambda c: c.drain_events(timeout=0),
        lambda c: c.blocking_read(timeout=0),
        lambda c: c.send_heartbeat(),
        lambda c: c.update_secret('x', 'y'),
    ],
)
def test_use_before_it(use):
    with pytest.raises(LOST, match='call connect'):
        use(Connection())


def test_the_end_of_one_that_never_was():
    connection = Connection()
    connection.heartbeat_tick()  # there is none to keep up
    connection.close()
    connection.collect()
    connection.abort()
    with pytest.raises(LOST, match='already closed'):
        connection.connect()


def test_use_while_closing(peer, connect):
    peer.serve(mute=[commands.Connection.Close])
    connection = connect()
    wire, channel = peer.wire(), connection.channel()
    closing = Background(connection.close)
    wire.seen(commands.Connection.Close)
    assert connection.is_closing
    connection.close()  # the other thread sees to it
    for use in (connection.channel, lambda: channel.queue_declare('q')):
        with pytest.raises(LOST, match='closing'):
            use()
    wire.send(0, commands.Connection.CloseOk())
    closing.result()
    assert not connection.connected


@pytest.mark.parametrize('end', ['collect', 'abort'])
def test_dropping_it_says_nothing_and_wakes_everybody(peer, connect, end):
    peer.serve(mute=[commands.Queue.Purge])
    connection = connect()
    wire = peer.wire()
    purge = Background(connection.channel().queue_purge, 'q')
    wire.seen(commands.Queue.Purge)
    drain = Background(connection.drain_events)
    getattr(connection, end)()
    assert isinstance(purge.error(), LOST)
    assert isinstance(drain.error(), LOST)
    wire.wait(wire.ended)
    assert not [f for _, f in wire.received if isinstance(f, commands.Connection.Close)]


@pytest.mark.parametrize('how', ['eof', 'reset'])
def test_a_loss_reaches_all_threads_with_its_cause(peer, connect, how):
    peer.serve(mute=[commands.Queue.Purge])
    connection = connect()
    wire = peer.wire()
    calls = [Background(connection.channel().queue_purge, 'q') for _ in range(8)]
    wire.seen(commands.Queue.Purge, 8)
    getattr(wire, how)()
    for call in calls:
        error = call.error()
        assert isinstance(error, LOST)
        assert isinstance(error.__cause__, OSError)
    assert not connection.connected


def test_the_first_cause_is_the_one_that_is_told():
    bare = SingleUseConnection(3)
    first = amqp.ConnectionForced('bye')
    assert bare._fail(first) is first
    for later in (BrokenPipeError(32, 'Broken pipe'), _EarlierFrameCutOff('cut off')):
        error = bare._fail(later)
        assert isinstance(error, LOST)
        assert isinstance(error.__cause__, amqp.ConnectionForced)
        assert 'bye' in str(error)
    assert bare._fail(amqp.FrameError('x')).reply_text == 'x'  # says more than that it is lost


def test_an_error_of_the_socket_is_told_as_a_loss():
    cause = ConnectionResetError(104, 'reset')
    error = SingleUseConnection(3)._fail(cause)
    assert type(error) is LOST
    assert error.__cause__ is cause
    assert 'connection lost: ' in str(error)


# -- forks


def test_in_a_forked_child(connection, wire):
    channel = connection.channel()
    connection._send_lock.acquire()  # as another thread may at that moment
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover (another process)
        found = []
        for use in (
            lambda: channel.queue_declare('q'),
            lambda: channel.basic_publish(amqp.Message(b'x')),
            lambda: connection.channel(),
            lambda: connection.drain_events(timeout=0),
            lambda: connection.update_secret('x', 'y'),
            lambda: connection.send_heartbeat(),
        ):
            try:
                use()
                found.append('no error')
            except LOST as exc:
                found.append('parent' if 'parent process' in str(exc) else str(exc))
        connection.close()
        connection.collect()
        os.write(write, ';'.join(found).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    connection._send_lock.release()
    assert os.read(read, 10_000).decode() == ';'.join(['parent'] * 6)
    os.close(read)
    os.close(write)
    assert channel.queue_declare('q').queue == 'q'  # the parent goes on
    assert len(wire.seen(commands.Queue.Declare)) == 1


LOCKS = (type(threading.Lock()), type(OwnedLock()), type(threading.RLock()), threading.Condition)


def locks_of(thing, seen):
    """Those that an object holds, and the objects of ours that it holds."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    for value in referents(thing):
        if isinstance(value, LOCKS):
            yield value
        elif type(value).__module__.startswith('amqp.'):
            yield from locks_of(value, seen)


def referents(thing):
    """What an object refers to, by attributes of any kind, those of extension types too."""
    for value in gc.get_referents(thing):
        if isinstance(value, dict):
            yield from gc.get_referents(value)
        else:
            yield value


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork on this platform')
@pytest.mark.parametrize('take_down', ['collect', 'close'])
def test_a_forked_child_waits_for_no_lock(peer, connect, take_down):
    """All are held, at the moment of the fork, by a thread that isn't there then."""
    peer.serve(handshake={'heartbeat': 60})
    connection = connect(heartbeat=60, heartbeat_thread=True)
    channel = connection.channel()
    channel.confirm_select()
    locks = [*locks_of(connection, set()), *locks_of(channel, set())]
    assert len(set(map(id, locks))) >= 10
    held, done = threading.Event(), threading.Event()

    def hold():
        with ExitStack() as stack:
            for lock in locks:
                if lock.acquire(timeout=0.1):  # but those that are held already
                    stack.callback(lock.release)
            held.set()
            assert done.wait(10)

    holder = Background(hold)
    assert held.wait(10)
    pid = os.fork()
    if pid == 0:  # pragma: no cover (another process)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)
        getattr(connection, take_down)()
        channel.collect()
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    done.set()
    holder.result()
    assert os.waitstatus_to_exitcode(status) == 0, 'the child hangs'
    assert channel.queue_declare('q').queue == 'q'  # the parent goes on


def test_an_end_that_a_signal_interrupted_is_completed_by_the_next(connection, monkeypatch):
    transport, sock = connection.transport, connection.sock

    def interrupted():
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(transport, 'close', interrupted)
        with pytest.raises(Interrupted):
            connection.collect()
    assert not connection.is_open
    assert sock.fileno() > 0
    connection.collect()
    assert sock.fileno() == -1
    assert connection.channels == {}


def test_a_stream_that_a_signal_kept_open_is_closed_by_the_next_use(connection, monkeypatch):
    """The peer is to see the end of what was cut off, though nobody calls `collect`."""
    transport, sock, channel = connection.transport, connection.sock, connection.channel()

    def interrupted():
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(transport, 'close', interrupted)
        with pytest.raises(Interrupted):
            connection._fail(amqp.RecoverableConnectionError('cut off'))
    assert sock.fileno() > 0
    with pytest.raises(amqp.RecoverableConnectionError, match='cut off'):
        channel.basic_publish(amqp.Message(b'x'))
    assert sock.fileno() == -1
