"""Every blocking call ends, and when it should."""

from __future__ import annotations

import errno
import inspect
import socket
import threading

import pytest
from pamqp import commands

import amqp
from amqp import spec
from t.helpers.peer import delivery, marshal

from .support import LOST, SOON, Background, ends_within

CALLS = {
    'flow': ((False,), commands.Channel.Flow),
    'exchange_declare': (('e', 'direct'), commands.Exchange.Declare),
    'exchange_delete': (('e',), commands.Exchange.Delete),
    'exchange_bind': (('d', 's'), commands.Exchange.Bind),
    'exchange_unbind': (('d', 's'), commands.Exchange.Unbind),
    'queue_declare': (('q',), commands.Queue.Declare),
    'queue_bind': (('q', 'e'), commands.Queue.Bind),
    'queue_unbind': (('q', 'e'), commands.Queue.Unbind),
    'queue_purge': (('q',), commands.Queue.Purge),
    'queue_delete': (('q',), commands.Queue.Delete),
    'basic_qos': ((0, 1, False), commands.Basic.Qos),
    'basic_consume': (('q',), commands.Basic.Consume),
    'basic_cancel': (('tag',), commands.Basic.Cancel),
    'basic_get': (('q',), commands.Basic.Get),
    'basic_recover': ((True,), commands.Basic.Recover),
    'confirm_select': ((), commands.Confirm.Select),
    'tx_select': ((), commands.Tx.Select),
    'tx_commit': ((), commands.Tx.Commit),
    'tx_rollback': ((), commands.Tx.Rollback),
}


@pytest.mark.parametrize('name', CALLS)
def test_synchronous_method_without_a_reply(peer, connect, name):
    args, method = CALLS[name]
    peer.serve(mute=[method])
    channel = connect(rpc_timeout=0.2).channel()
    with ends_within(SOON), pytest.raises(amqp.RPCTimeout, match=method.name.split('.')[1]):
        getattr(channel, name)(*args)


def test_rpc_timeout_is_no_expired_poll(peer, connect):
    """Kombu's loop takes a TimeoutError for "nothing to read"."""
    peer.serve(mute=[commands.Queue.Declare])
    channel = connect(rpc_timeout=0.2).channel()
    with pytest.raises(amqp.RPCTimeout) as caught:
        channel.queue_declare('q')
    assert isinstance(caught.value, amqp.RecoverableChannelError)
    assert not isinstance(caught.value, OSError)


def test_channel_open_without_a_reply(peer, connect):
    peer.serve(mute=[commands.Channel.Open])
    connection = connect(rpc_timeout=0.2)
    with ends_within(SOON), pytest.raises(amqp.RPCTimeout):
        connection.channel()


def test_channel_close_without_a_reply(peer, connect):
    peer.serve(mute=[commands.Channel.Close])
    connection = connect(rpc_timeout=0.2)
    channel = connection.channel()
    with ends_within(SOON), pytest.raises(amqp.RPCTimeout):
        channel.close()
    assert channel.connection is None
    assert connection.channel().channel_id != 1


def test_connection_close_without_a_reply(peer, connect):
    peer.serve(mute=[commands.Connection.Close])
    connection = connect(rpc_timeout=0.2)
    connection.channel()
    with ends_within(SOON):
        try:
            connection.close()
        except amqp.AMQPError:
            pass
    assert not connection.connected
    assert not connection.is_alive()
    with pytest.raises(LOST):
        connection.drain_events(timeout=0)
    connection.close()


def test_update_secret_without_a_reply(peer, connect):
    peer.serve(mute=[commands.Connection.UpdateSecret])
    connection = connect(rpc_timeout=0.2)
    with ends_within(SOON), pytest.raises(amqp.AMQPError):
        connection.update_secret('new', 'expired')


def test_with_statement_ends_on_a_mute_peer(peer):
    peer.serve(mute=[commands.Queue.Declare, commands.Connection.Close, commands.Channel.Close])

    def work():
        with amqp.Connection(peer.host, rpc_timeout=0.2) as connection:
            with connection.channel() as channel:
                channel.queue_declare('q')

    with ends_within(SOON), pytest.raises(amqp.AMQPError):
        work()


def test_trickle_does_not_prolong_a_reply(peer, connect):
    """Deliveries that come meanwhile don't restart the wait for a reply."""
    stop = threading.Event()

    def trickle(p, channel, frame):
        for tag in range(1, 100):
            if stop.wait(0.05):
                return
            p.send_raw(delivery(channel, delivery_tag=tag, body=b'x'))

    peer.serve(on={commands.Queue.Declare: trickle})
    connection = connect(rpc_timeout=0.3)
    channel = connection.channel()
    channel.basic_consume('q', 'tag', no_ack=True)
    try:
        with ends_within(3), pytest.raises(amqp.RPCTimeout):
            channel.queue_declare('q')
    finally:
        stop.set()


@pytest.mark.parametrize('what', ['heartbeats', 'half a message'])
def test_drain_timeout_is_one_deadline(peer, connect, what):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    channel.basic_consume('q', 'tag', no_ack=True)
    wire, stop = peer.wire(), threading.Event()
    message = delivery(1, body=b'x' * 500)

    def trickle():
        for octet in message:
            if stop.wait(0.05):
                return
            wire.heartbeat() if what == 'heartbeats' else wire.send_raw(bytes([octet]))

    background = Background(trickle)
    try:
        with ends_within(3), pytest.raises(socket.timeout):
            connection.drain_events(timeout=0.3)
    finally:
        stop.set()
        background.result()


def test_late_reply_matches_nothing(peer, connect):
    def declare(p, channel, frame):
        if frame.queue == 'next':
            p.send(1, commands.Queue.DeclareOk('late', 1, 1), commands.Channel.CloseOk())
            p.send(channel, commands.Queue.DeclareOk('next', 2, 2))

    peer.serve(on={commands.Queue.Declare: declare}, mute=[commands.Channel.Close])
    channel = connect(rpc_timeout=0.5).channel()
    with pytest.raises(amqp.RPCTimeout):
        channel.queue_declare('slow')
    assert tuple(channel.queue_declare('next')) == ('next', 2, 2)
    assert channel.queue_purge('next') == 0


def test_overdue_channel_is_closed_and_its_id_rests(peer, connect):
    """A late reply must find nobody: the id comes back with close-ok only."""
    peer.serve(mute=[commands.Queue.Declare, commands.Channel.Close])
    connection = connect(rpc_timeout=0.2, channel_max=4)
    channel = connection.channel()
    wire = peer.wire()
    with pytest.raises(amqp.RPCTimeout):
        channel.queue_declare('slow')
    wire.seen(commands.Channel.Close)
    others = [connection.channel() for _ in range(2)]
    assert 1 not in {other.channel_id for other in others}
    others[0].collect()
    wire.send(1, commands.Queue.DeclareOk('slow', 0, 0), commands.Channel.CloseOk())
    others[1].queue_purge('q')
    assert connection.connected


def test_channel_is_usable_after_an_overdue_reply(peer, connect):
    once = []

    def declare(p, channel, frame):
        if once:
            p.send(channel, commands.Queue.DeclareOk(frame.queue, 0, 0))
        once.append(channel)

    peer.serve(on={commands.Queue.Declare: declare})
    channel = connect(rpc_timeout=0.3).channel()
    with pytest.raises(amqp.RPCTimeout):
        channel.queue_declare('q')
    assert channel.queue_declare('q').queue == 'q'


def test_wait_with_a_timeout_of_the_callers(peer, connect):
    peer.serve()
    channel = connect().channel()
    with ends_within(SOON), pytest.raises(socket.timeout):
        channel.wait(spec.Basic.GetEmpty, timeout=0.05)
    peer.wire().send(1, commands.Queue.PurgeOk(7))
    assert channel.wait(spec.Queue.PurgeOk, timeout=SOON) == 7


def test_rpc_timeout_none_waits(peer, connect):
    peer.serve(mute=[commands.Queue.Purge])
    channel = connect(rpc_timeout=None).channel()
    call = Background(channel.queue_purge, 'q')
    peer.wire().seen(commands.Queue.Purge)
    peer.wire().send(1, commands.Queue.PurgeOk(3))
    assert call.result() == 3


def test_read_timeout_bounds_an_endless_drain(peer, connect):
    peer.serve()
    connection = connect(read_timeout=0.2)
    with ends_within(SOON), pytest.raises(socket.timeout):
        connection.drain_events()
    assert connection.channel().queue_purge('q') == 0


def test_timeout_set_on_the_socket_by_others_is_honoured(peer, connect):
    """Celery reaches for the socket and sets a timeout there."""
    peer.serve()
    connection = connect()
    connection.sock.settimeout(0.2)
    with ends_within(SOON), pytest.raises(socket.timeout):
        connection.drain_events()
    assert connection.channel().queue_purge('q') == 0


def test_zero_and_negative_timeouts_poll(peer, connect):
    peer.serve()
    connection = connect()
    for timeout in (0, 0.0, -1):
        with ends_within(SOON), pytest.raises(socket.timeout):
            connection.drain_events(timeout=timeout)
    assert connection.connected
    assert connection.channel().queue_purge('q') == 0


class TimedOut(socket.socket):
    """A socket upon which the kernel gives the connection up."""

    def recv_into(self, *args):
        raise OSError(errno.ETIMEDOUT, 'Connection timed out')


def test_kernels_etimedout_is_a_lost_connection(peer, connect):
    peer.serve()
    connection = connect()
    sock = connection.transport.sock
    connection.transport.sock = TimedOut(fileno=sock.detach())
    connection.transport.sock.setblocking(False)
    with pytest.raises(LOST) as caught:
        connection.drain_events(timeout=SOON)
    assert not isinstance(caught.value, TimeoutError)
    assert not connection.connected


def test_no_default_user_timeout_cuts_slow_links(peer, connect):
    peer.serve()
    user_timeout = connect().sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert user_timeout == 0 or user_timeout >= 30_000


def test_all_synchronous_methods_are_covered():
    takes_reply = {
        name
        for name, member in inspect.getmembers(amqp.Channel, inspect.isfunction)
        if not name.startswith('_') and 'wait=' in inspect.getsource(member)
    }
    aside = {'send_method', 'open', 'close', 'wait'}
    assert takes_reply - aside == set(CALLS)


def test_reply_beside_a_half_message(peer, connect):
    """A reply of one channel comes between the frames of another's message."""
    peer.serve(mute=[commands.Queue.Purge])
    connection = connect()
    one, two = connection.channel(), connection.channel()
    got = []
    one.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg.body))
    call = Background(two.queue_purge, 'q')
    wire = peer.wire()
    wire.seen(commands.Queue.Purge)
    message = delivery(1, body=b'abcdef', frame_max=11)
    wire.send_raw(message[:-11], marshal(2, commands.Queue.PurgeOk(5)))
    assert call.result() == 5
    wire.send_raw(message[-11:])
    connection.drain_events(timeout=SOON)
    assert got == [b'abcdef']
