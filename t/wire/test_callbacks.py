"""Callbacks for what happens to a connection and its channels: each once, where it may run."""

from __future__ import annotations

import os
import socket
import threading

import pytest
from pamqp import commands

import amqp
from amqp import Message

from .support import LOST, SOON, Background, drain_until, readable

CLOSE = commands.Channel.Close(404, "NOT_FOUND - no 'q'", 50, 10)
FORCED = commands.Connection.Close(320, 'CONNECTION_FORCED', 0, 0)


@pytest.fixture
def connection(peer, connect):
    peer.serve()
    return connect()


@pytest.fixture
def told(connection):
    """What the callback for the connection's end was called with."""
    errors = []
    connection.events['close'].add(errors.append)
    return errors


def listen(channel, *names):
    """What happens to a channel, as (event, argument)."""
    happened = []
    for name in names:
        channel.events[name].add(lambda what, name=name: happened.append((name, what)))
    return happened


def be_silent(connection):
    """As if the peer had been so for long."""
    connection._heartbeat.last_received = connection.transport.received_at = 1.0


# -- the connection


def test_blocked_and_unblocked(peer, connect):
    peer.serve()
    calls = []
    connection = connect(on_blocked=lambda reason: calls.append(('on_blocked', reason)))
    connection.events['blocked'].add(lambda reason: calls.append(('blocked', reason)))
    connection.events['unblocked'].add(lambda: calls.append('unblocked'))
    peer.wire().send(0, commands.Connection.Blocked('memory'), commands.Connection.Unblocked())
    drain_until(connection, lambda: 'unblocked' in calls)
    assert calls == [('on_blocked', 'memory'), ('blocked', 'memory'), 'unblocked']


@pytest.mark.parametrize('end', ['close', 'collect', 'abort'])
def test_an_end_that_was_asked_for(connection, told, end):
    for _ in range(2):
        getattr(connection, end)()
    assert told == [None]


def test_with_ends_it_too(peer):
    peer.serve()
    told = []
    with amqp.Connection(peer.host) as connection:
        connection.events['close'].add(told.append)
    assert told == [None]


@pytest.mark.parametrize(
    'use',
    [
        lambda connection, channel: connection.drain_events(timeout=SOON),
        lambda connection, channel: connection.sleep(SOON),
        lambda connection, channel: channel.queue_declare('q'),
        lambda connection, channel: channel.basic_publish_confirm(Message('x')),
        lambda connection, channel: channel.basic_publish(Message('x'), timeout=SOON),
        lambda connection, channel: list(channel.consume('q')),
    ],
    ids=['drain', 'sleep', 'call', 'confirm', 'publish', 'consume'],
)
def test_whoever_finds_the_end_runs_them(peer, connection, told, use):
    channel = connection.channel()
    peer.wire().send(0, FORCED)
    readable(connection)
    with pytest.raises(amqp.ConnectionForced):
        use(connection, channel)
    (error,) = told
    assert isinstance(error, amqp.ConnectionForced)
    assert error.reply_code == 320
    connection.close()
    assert told == [error]


def test_a_lost_stream(peer, connection, told):
    peer.wire().reset()
    readable(connection)
    with pytest.raises(LOST):
        connection.drain_events(timeout=SOON)
    (error,) = told
    assert type(error) is LOST
    assert isinstance(error.__cause__, OSError)


def test_what_a_tick_or_a_heartbeat_finds(peer, connect):
    peer.serve(handshake={'heartbeat': 30})
    for probe in ('heartbeat_tick', 'send_heartbeat'):
        connection, told = connect(heartbeat=30), []
        connection.events['close'].add(told.append)
        if probe == 'heartbeat_tick':
            be_silent(connection)
        else:
            connection.sock.shutdown(socket.SHUT_WR)
        with pytest.raises((LOST, amqp.ConnectionForced)):
            getattr(connection, probe)()
        assert len(told) == 1


def test_the_teardown_is_over_by_then(peer, connection):
    channel = connection.channel()
    states = []

    def on_close(error):
        states.append((connection.is_closed, connection.connected, connection.channels, channel))
        with pytest.raises(LOST):
            channel.queue_declare('q')

    connection.events['close'].add(on_close)
    peer.wire().eof()
    with pytest.raises(LOST):
        connection.drain_events(timeout=SOON)
    assert states == [(True, False, {}, channel)]


def test_each_runs_though_others_raise(peer, connection):
    calls = []

    def one(error):
        calls.append('one')
        raise ValueError('one')

    def other(error):
        calls.append('other')
        raise KeyError('other')

    connection.events['close'].update((one, other))
    with pytest.raises((ValueError, KeyError)) as caught:
        connection.close()
    assert sorted(calls) == ['one', 'other']
    assert {type(caught.value), type(caught.value.__context__)} == {ValueError, KeyError}
    assert connection.is_closed


def test_one_that_raises_beside_the_loss_has_it_as_its_context(peer, connection):
    def on_close(error):
        raise ValueError('mine')

    connection.events['close'].add(on_close)
    peer.wire().send(0, FORCED)
    with pytest.raises(ValueError, match='mine') as caught:
        connection.drain_events(timeout=SOON)
    assert isinstance(caught.value.__context__, amqp.ConnectionForced)


def test_of_many_threads_one_runs_them(peer, connection, told):
    channels = [connection.channel() for _ in range(4)]
    for channel in channels:
        channel.basic_consume('q', callback=print)
    calls = [Background(connection.drain_events) for _ in range(4)]
    peer.wire().eof()
    assert all(isinstance(call.error(), LOST) for call in calls)
    assert len(told) == 1


def test_no_lock_is_held(connection):
    """Another thread can do what it likes meanwhile."""
    channel = connection.channel()
    outcomes = []

    def ask():
        with pytest.raises(LOST):
            channel.queue_declare('q')
        connection.close()

    connection.events['close'].add(lambda error: outcomes.append(Background(ask).error()))
    connection.close()
    assert outcomes == [None]


def test_never_in_the_heartbeat_thread(peer, connect):
    peer.serve(handshake={'heartbeat': 1}, heartbeats=False)
    connection = connect(heartbeat=1, heartbeat_thread=True)
    threads = []
    connection.events['close'].add(lambda error: threads.append(threading.current_thread()))
    thread = connection._heartbeat_thread
    be_silent(connection)
    thread.join()
    assert connection.is_closed
    assert threads == []
    connection.close()
    assert threads == [threading.current_thread()] != [thread]


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork on this platform')
@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_never_in_a_forked_child(connection, told):
    channel = connection.channel()
    happened = listen(channel, 'close')
    pid = os.fork()
    if pid == 0:
        connection.collect()
        connection.close()
        channel.collect()
        os._exit(bool(told or happened))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    connection.close()
    assert (told, happened) == ([None], [('close', None)])


def test_a_connect_that_fails_is_no_end(peer):
    peer.script(lambda wire: wire.close())
    connection, told = amqp.Connection(peer.host), []
    connection.events['close'].add(told.append)
    with pytest.raises((LOST, OSError)):
        connection.connect()
    connection.collect()
    assert told == []


# -- a channel


def test_a_channel_that_the_broker_closes_each_time_anew(peer, connection):
    channel = connection.channel()
    happened = listen(channel, 'close')
    for count in (1, 2):
        peer.wire().send(1, CLOSE)
        drain_until(connection, lambda count=count: len(happened) == count)
        with pytest.raises(amqp.NotFound):
            connection.drain_events(timeout=SOON)
        assert happened[-1][1].reply_code == 404
        channel.queue_declare('q')  # which opens it again
    channel.close()
    connection.close()
    assert [error and error.reply_code for _, error in happened] == [404, 404, None]


def test_a_channel_closed_by_the_reply_to_a_call(peer, connect):
    peer.serve(on={commands.Queue.Declare: lambda wire, channel, frame: wire.send(channel, CLOSE)})
    channel = connect().channel()
    happened = listen(channel, 'close')
    with pytest.raises(amqp.NotFound):
        channel.queue_declare('q')
    assert [error.reply_code for _, error in happened] == [404]
    channel.close()
    assert len(happened) == 1


@pytest.mark.parametrize('end', ['close', 'collect'])
def test_a_channel_whose_end_was_asked_for(connection, end):
    channel = connection.channel()
    happened = listen(channel, 'close')
    getattr(channel, end)()
    connection.close()
    assert happened == [('close', None)]


def test_a_channel_whose_reply_is_overdue(peer, connect):
    peer.serve(mute=[commands.Queue.Declare])
    connection = connect(rpc_timeout=0.1)
    channel = connection.channel()
    happened = listen(channel, 'close')
    with pytest.raises(amqp.RPCTimeout):
        channel.queue_declare('q')
    drain_until(connection, lambda: bool(happened))
    assert [type(error) for _, error in happened] == [amqp.RPCTimeout]


def test_channels_end_before_their_connection(peer, connection):
    calls = []
    for number in (1, 2):
        connection.channel().events['close'].add(
            lambda error, number=number: calls.append((number, type(error)))
        )
    connection.events['close'].add(lambda error: calls.append((0, type(error))))
    peer.wire().send(0, FORCED)
    with pytest.raises(amqp.ConnectionForced):
        connection.drain_events(timeout=SOON)
    assert calls == [(number, amqp.ConnectionForced) for number in (1, 2, 0)]


def test_promises_are_settled_before(peer, connect):
    peer.serve(confirms=False)
    connection = connect()
    channel = connection.channel()
    calls = []
    channel.publish_async(Message('x'), routing_key='q').then(print, lambda error: calls.append(1))
    channel.events['close'].add(lambda error: calls.append(2))
    connection.collect()
    assert calls == [1, 2]


def test_cancel(peer, connection):
    """With someone to tell, nothing is raised; the consumer's own callback is told first."""
    channel = connection.channel()
    happened = listen(channel, 'cancel')
    channel.basic_consume('q', 'one', callback=print, on_cancel=happened.append)
    channel.basic_consume('q', 'other', callback=print)
    peer.wire().send(1, commands.Basic.Cancel('one', True), commands.Basic.Cancel('other', True))
    drain_until(connection, lambda: len(happened) == 3)
    assert happened == ['one', ('cancel', 'one'), ('cancel', 'other')]
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0)


def test_cancel_of_a_loop(peer, connection):
    channel = connection.channel()
    happened = listen(channel, 'cancel')
    loop = channel.consume('q')
    peer.wire().send(1, commands.Basic.Cancel(channel.consumer_tags[0], True))
    assert list(loop) == []
    drain_until(connection, lambda: bool(happened))
    assert len(happened) == 1


def test_flow(peer, connection):
    channel = connection.channel()
    happened = listen(channel, 'flow')
    peer.wire().send(1, commands.Channel.Flow(False), commands.Channel.Flow(True))
    drain_until(connection, lambda: len(happened) == 2)
    assert happened == [('flow', False), ('flow', True)]
    assert len(peer.wire().seen(commands.Channel.FlowOk, 2)) == 2


def test_an_event_misspelt(connection):
    with pytest.raises(KeyError, match="no event 'closed'"):
        connection.events['closed'].add(print)
    with pytest.raises(KeyError, match="no event 'return'"):
        connection.channel().events['return'].add(print)
