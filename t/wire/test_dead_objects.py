"""Every public method in every state: a documented AMQP error or success, nothing else."""

from __future__ import annotations

import inspect
import os

import pytest
from pamqp import commands

import amqp
from amqp import Message

from .support import LOST, SOON, Background, ends_within, readable

# pamqp warns of basic.recover-async.
pytestmark = pytest.mark.filterwarnings('ignore:This command is deprecated')

ARGUMENTS = {
    'basic_ack': (1,),
    'basic_cancel': ('tag',),
    'basic_consume': ('q',),
    'basic_get': ('q',),
    'basic_nack': (1,),
    'basic_publish': (Message('x'), 'e', 'key'),
    'basic_publish_confirm': (Message('x'), 'e', 'key'),
    'basic_qos': (0, 1, False),
    'publish_async': (Message('x'), 'e', 'key'),
    'basic_recover': (True,),
    'basic_recover_async': (True,),
    'basic_reject': (1, True),
    'batch': (),
    'blocking_read': (0,),
    'close': (),
    'collect': (),
    'create_publish_batch': (),
    'confirm_select': (),
    'consume': ('q',),
    'start_consuming': (),
    'stop_consuming': (),
    'drain_events': (0,),
    'exchange_bind': ('d', 's'),
    'exchange_declare': ('e', 'direct'),
    'exchange_delete': ('e',),
    'exchange_unbind': ('d', 's'),
    'flow': (True,),
    'is_alive': (),
    'heartbeat_tick': (),
    'start_heartbeat_thread': (),
    'stop_heartbeat_thread': (),
    'open': (),
    'queue_bind': ('q', 'e'),
    'queue_declare': ('q',),
    'queue_delete': ('q',),
    'queue_purge': ('q',),
    'queue_unbind': ('q', 'e'),
    'send_heartbeat': (),
    'send_method': ((50, 30), 'Bsb', (0, 'q', True)),
    'then': (lambda *args: None,),
    'tx_commit': (),
    'tx_rollback': (),
    'tx_select': (),
    'update_secret': ('s', 'r'),
    'wait': ((50, 31),),
    'wait_for_confirms': (),
    'channel': (),
    'call_later': (0, print),
    'call_soon_threadsafe': (print,),
    'sleep': (0,),
    'abort': (),
}
#: Called by the library itself, with what comes from the peer.
INTERNAL = {'dispatch_method', 'on_inbound_method', 'on_inbound_frame', 'Transport', 'Channel'}
#: They need a peer of their own, an URL, credentials to ask.
ASIDE = INTERNAL | {'connect', 'from_url', 'renew_secret'}
#: No error after the connection is gone: they tidy up, or tell how it is.
HARMLESS = {'close', 'collect', 'abort', 'is_alive', 'then', 'basic_cancel'}
HARMLESS |= {'stop_heartbeat_thread', 'stop_consuming'}


def public(cls):
    return sorted(
        name
        for name, member in inspect.getmembers(cls)
        if callable(member) and not name.startswith('_') and name not in ASIDE
    )


CALLS = [('connection', name) for name in public(amqp.Connection)]
CALLS += [('channel', name) for name in public(amqp.Channel)]

STATES = [
    'new',
    'closed',
    'collected',
    'eof unnoticed',
    'eof noticed',
    'reset unnoticed',
    'closed by the peer',
    'channel closed',
    'channel collected',
    'channel closed by the peer',
]


def objects_in(state, peer, connect):
    """A connection and a channel in a given state."""
    if state == 'new':
        return amqp.Connection(peer.host), None
    peer.serve()
    connection = connect(rpc_timeout=0.2)
    channel = connection.channel()
    wire = peer.wire()
    if state in ('closed', 'collected'):
        connection.close() if state == 'closed' else connection.collect()
    elif state.startswith('channel'):
        if state == 'channel closed':
            channel.close()
        elif state == 'channel collected':
            channel.collect()
        else:
            wire.send(1, commands.Channel.Close(404, 'NOT_FOUND', 50, 10))
            readable(connection)
            with pytest.raises(amqp.NotFound):
                connection.drain_events(timeout=SOON)
    else:
        lose(state, connection, wire)
    return connection, channel


def lose(state, connection, wire):
    if state == 'closed by the peer':
        wire.send(0, commands.Connection.Close(320, 'CONNECTION_FORCED', 0, 0))
    elif state.startswith('eof'):
        wire.eof()
    else:
        wire.reset()
    readable(connection)
    if not state.endswith('unnoticed'):
        with pytest.raises(amqp.ConnectionError):
            connection.drain_events(timeout=SOON)


#: A connection that was never opened has no channel.
CASES = [
    (state, target, name)
    for state in STATES
    for target, name in CALLS
    if (state, target) != ('new', 'channel')
]


@pytest.mark.parametrize(('state', 'target', 'name'), CASES)
def test_method_in_state(peer, connect, state, target, name):
    connection, channel = objects_in(state, peer, connect)
    called = connection if target == 'connection' else channel
    error = None
    with ends_within(SOON):
        try:
            getattr(called, name)(*ARGUMENTS[name])
        except (amqp.AMQPError, TimeoutError) as exc:
            error = exc
    if isinstance(error, TimeoutError):
        assert connection.connected, 'a lost connection passes for an expired wait'
    if name in HARMLESS:
        assert error is None or state.endswith('unnoticed')
    elif state in ('new', 'closed', 'collected', 'eof noticed', 'closed by the peer'):
        if name != 'heartbeat_tick':
            assert isinstance(error, LOST)


@pytest.mark.parametrize('state', STATES)
def test_attributes_in_state(peer, connect, state):
    connection, channel = objects_in(state, peer, connect)
    for thing in filter(None, (connection, channel)):
        repr(thing)
        for name, member in inspect.getmembers(type(thing)):
            if isinstance(member, property):
                try:
                    getattr(thing, name)
                except amqp.AMQPError:
                    assert name in ('transport', 'sock', 'frame_writer', 'on_inbound_frame')


def test_every_public_method_is_covered():
    assert not {name for _, name in CALLS} - set(ARGUMENTS)


def test_loss_is_told_with_its_cause(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    peer.wire().eof()
    with pytest.raises(LOST):
        connection.drain_events(timeout=SOON)
    for call in (connection.drain_events, channel.tx_select, connection.channel):
        with pytest.raises(LOST, match='closed') as caught:
            call()
        if call == connection.drain_events:
            assert caught.value.__cause__ is not None
    assert not connection.connected
    assert not connection.is_alive()
    assert channel.connection is None


def test_connection_is_single_use(peer, connect):
    peer.serve()
    connection = connect()
    connection.close()
    with pytest.raises(LOST):
        connection.connect()


def test_nothing_reconnects_behind_the_back(peer, connect):
    """After a loss every drain raises; the peer sees no second connection."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    channel.basic_consume('q', 'tag', no_ack=True)
    peer.wire().eof()
    for _ in range(5):
        with pytest.raises(LOST):
            connection.drain_events(timeout=SOON)
    for _ in range(2):
        with pytest.raises(LOST):
            channel.basic_consume('q', 'tag', no_ack=True)
    assert len(peer.wires) == 1


def test_is_alive(peer, connect):
    peer.serve()
    connection = amqp.Connection(peer.host)
    assert not connection.is_alive()
    connection = connect()
    assert connection.is_alive()
    peer.wire().deliver(0)  # what waits unread is not taken
    readable(connection)
    assert connection.is_alive()
    connection.collect()
    assert not connection.is_alive()


@pytest.mark.parametrize('end', ['eof', 'reset'])
def test_is_alive_sees_an_end_that_nobody_has_read(peer, connect, end):
    peer.serve()
    connection = connect()
    getattr(peer.wire(), end)()
    readable(connection)
    assert not connection.is_alive()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork on this platform')
def test_use_in_a_forked_child(peer, connect):
    """The child's use raises, its collect sends nothing, and the parent goes on."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            for call in (
                lambda: channel.queue_declare('child'),
                lambda: channel.basic_publish(Message('x'), routing_key='child'),
                lambda: connection.drain_events(timeout=0),
                lambda: connection.send_heartbeat(),
            ):
                try:
                    call()
                except LOST:
                    continue
                os._exit(2)
            connection.collect()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert channel.queue_declare('parent').queue == 'parent'
    [declare] = peer.wire().seen(commands.Queue.Declare)
    assert declare.queue == 'parent'


@pytest.mark.parametrize('end', ['eof', 'reset'])
def test_end_wakes_everybody(peer, connect, end):
    """EOF with eight waiters of all kinds: all raise, and none spins."""
    peer.serve(mute=[commands.Queue.Declare], confirms=False)
    connection = connect(rpc_timeout=60)
    calls = []
    for _ in range(3):
        channel = connection.channel()
        channel.confirm_select()
        calls.append(Background(channel.queue_declare, 'q'))
        calls.append(Background(channel.basic_publish_confirm, Message('x')))
    calls += [Background(connection.drain_events) for _ in range(2)]
    wire = peer.wire()
    wire.seen(commands.Queue.Declare, 3)
    wire.messages(3)
    getattr(wire, end)()
    with ends_within(SOON):
        assert all(isinstance(call.error(), LOST) for call in calls)
