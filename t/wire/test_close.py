"""Closing, from either side, and what is seen of it by those who come later."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest
from pamqp import commands

import amqp
from amqp import Message

from .support import LOST, SOON, Background, drain_until, ends_within, readable


def closes(code=320, text='CONNECTION_FORCED - broker forced connection closure'):
    return commands.Connection.Close(code, text, 0, 0)


def test_orderly_close(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    connection.close()
    wire = peer.finished()
    assert wire.received[-1][1].name == 'Connection.Close'
    assert not connection.connected
    assert channel.connection is None
    connection.close()
    connection.collect()


def test_with_statement_closes(peer):
    peer.serve()
    with amqp.Connection(peer.host) as connection:
        with connection.channel() as channel:
            channel.queue_declare('q')
    names = [frame.name for _, frame in peer.finished().received]
    assert names[-2:] == ['Channel.Close', 'Connection.Close']


def test_close_is_the_last_that_is_sent(peer, connect):
    peer.script(lambda p: (p.handshake(), p.serve(), p.until_eof()))
    connection = connect()
    channel = connection.channel()
    connection.close()
    for call in (channel.close, channel.collect, connection.close, connection.collect):
        call()
    wire = peer.finished()
    assert wire.received[-1][1].name == 'Connection.Close'


def test_peers_close_is_answered_and_raised(peer, connect):
    @peer.script
    def _(p):
        p.handshake()
        p.send(0, closes())
        p.expect(commands.Connection.CloseOk, 0)
        p.until_eof()

    connection = connect()
    with pytest.raises(amqp.ConnectionForced, match='broker forced'):
        connection.drain_events(timeout=SOON)
    assert not connection.connected
    peer.finished()


def test_peers_close_ends_a_wait_for_a_reply(peer, connect):
    peer.serve(on={commands.Queue.Declare: lambda p, *_: p.send(0, closes())})
    connection = connect()
    channel = connection.channel()
    with pytest.raises(LOST):
        channel.queue_declare('q')
    with pytest.raises(LOST, match='broker forced'):
        connection.channel()


@pytest.mark.parametrize('end', ['close', 'eof', 'reset'])
def test_pending_end_is_seen_by_the_first_publish(peer, connect, end):
    """The first publish after a restart of the broker must not "succeed"."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    wire = peer.wire()
    wire.send(0, closes()) if end == 'close' else getattr(wire, end)()
    readable(connection)
    with pytest.raises((amqp.ConnectionError, amqp.RecoverableConnectionError)):
        channel.basic_publish(Message('x'), routing_key='q')
    assert not connection.connected
    assert not wire.published


def test_pending_channel_close_is_seen_by_the_first_publish(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    wire = peer.wire()
    wire.send(1, commands.Channel.Close(404, 'NOT_FOUND - no exchange', 60, 40))
    readable(connection)
    with pytest.raises(amqp.NotFound):
        channel.basic_publish(Message('x'), exchange='missing')
    assert not wire.published
    channel.basic_publish(Message('y'), routing_key='q')
    assert [message.body for message in wire.messages(1)] == [b'y']


def test_channel_error_of_a_publish_shows_at_the_next_operation(peer, connect):
    peer.serve()
    channel = connect().channel()
    channel.basic_publish(Message('x'), exchange='missing')
    wire = peer.wire()
    wire.messages(1)
    wire.send(1, commands.Channel.Close(404, 'NOT_FOUND - no exchange', 60, 40))
    with pytest.raises(amqp.NotFound):
        channel.queue_declare('q')
    assert channel.queue_declare('q').queue == 'q'


def test_channel_error_of_a_publish_shows_at_close(peer, connect):
    """Our close and theirs cross: no message is lost in silence."""

    def close(p, channel, frame):
        p.send(channel, commands.Channel.Close(404, 'NOT_FOUND - no exchange', 60, 40))
        p.expect(commands.Channel.CloseOk, channel)
        p.send(channel, commands.Channel.CloseOk())

    peer.serve(on={commands.Channel.Close: close})
    connection = connect()
    channel = connection.channel()
    channel.basic_publish(Message('x'), exchange='missing')
    with pytest.raises(amqp.NotFound):
        channel.close()
    assert channel.connection is None
    assert connection.channel().queue_declare('q').queue == 'q'


NOT_FOUND = commands.Channel.Close(404, 'NOT_FOUND - no exchange', 60, 40)


@pytest.mark.parametrize(
    'when', ['never', 'before our close-ok', 'behind it', 'before open-ok', 'behind open-ok']
)
def test_close_ok_of_closes_that_cross(peer, connect, when):
    """A channel that an error has ended leaves our close unread, or it doesn't."""
    close_ok = commands.Channel.CloseOk()

    @peer.script
    def _(p):
        p.handshake(channel_max=1)
        p.expect(commands.Channel.Open, 1)
        p.send(1, commands.Channel.OpenOk())
        p.expect(commands.Channel.Close, 1)
        p.send(1, NOT_FOUND)
        if when == 'before our close-ok':
            p.send(1, close_ok)
        p.expect(commands.Channel.CloseOk, 1)
        if when == 'behind it':
            p.send(1, close_ok)
        p.expect(commands.Channel.Open, 1)
        if when == 'before open-ok':
            p.send(1, close_ok)
        p.send(1, commands.Channel.OpenOk())
        if when == 'behind open-ok':
            p.send(1, close_ok)
        p.serve()

    connection = connect()
    with ends_within(SOON), pytest.raises(amqp.NotFound, match='no exchange'):
        connection.channel().close()
    channel = connection.channel()
    assert channel.channel_id == 1
    if when == 'behind open-ok':  # nothing explains it then
        with pytest.raises(amqp.UnexpectedFrame, match='close-ok is not possible while open'):
            channel.queue_purge('q')
    else:
        assert channel.queue_purge('q') == 0
        assert connection.is_alive()


def test_a_second_close_ok_is_one_too_many(peer, connect):
    """Of the two that come for one close, only the first can be the broker's."""

    @peer.script
    def _(p):
        p.handshake()
        p.expect(commands.Channel.Open, 1)
        p.send(1, commands.Channel.OpenOk())
        p.expect(commands.Channel.Close, 1)
        p.send(1, NOT_FOUND, commands.Channel.CloseOk(), commands.Channel.CloseOk())
        p.until_eof()

    connection = connect()
    with pytest.raises(amqp.NotFound):
        connection.channel().close()
    with pytest.raises(amqp.ChannelNotOpen, match='channel 1 is not open'):
        drain_until(connection, lambda: False)


def test_channel_close_races_ours_first(peer, connect):
    """The peer answers our close before it has read our close-ok to its own."""

    def close(p, channel, frame):
        p.send(channel, commands.Channel.CloseOk())

    peer.serve(on={commands.Channel.Close: close})
    connection = connect()
    channel = connection.channel()
    channel.close()
    channel.close()
    assert connection.channel().queue_purge('q') == 0


def test_deliveries_between_close_and_close_ok_are_dropped(peer, connect):
    """Specification 1.5.2.5: whatever else comes then is discarded."""

    def close(p, channel, frame):
        p.deliver(channel, body=b'late')
        p.send(channel, commands.Basic.Cancel('tag', nowait=True), commands.Channel.CloseOk())

    peer.serve(on={commands.Channel.Close: close})
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', callback=got.append)
    channel.close()
    with pytest.raises(socket.timeout):
        connection.drain_events(timeout=0)
    assert not got
    assert connection.connected


def test_connection_closes_cross(peer, connect):
    def close(p, channel, frame):
        p.send(0, closes())
        p.expect(commands.Connection.CloseOk, 0)
        p.send(0, commands.Connection.CloseOk())
        p.close()

    peer.serve(on={commands.Connection.Close: close})
    connection = connect()
    connection.channel()
    with ends_within(SOON):
        connection.close()
    assert not connection.connected


@pytest.mark.parametrize('end', ['eof', 'reset', 'close'])
def test_peer_vanishes_during_close(peer, connect, end):
    peer.serve(on={commands.Connection.Close: lambda p, *_: getattr(p, end)()})
    connection = connect(rpc_timeout=60)
    connection.channel()
    with ends_within(SOON):
        with suppress(LOST):
            connection.close()
    assert not connection.connected


@pytest.mark.parametrize('end', ['eof', 'reset', 'close'])
def test_close_after_the_peer_has_gone(peer, connect, end):
    peer.serve()
    connection = connect(rpc_timeout=60)
    channel = connection.channel()
    getattr(peer.wire(), end)()
    readable(connection)
    with ends_within(SOON):
        for target in (channel, connection):
            with suppress(LOST):
                target.close()
    assert not connection.connected
    connection.close()


def test_close_while_another_thread_drains(peer, connect):
    peer.serve()
    connection = connect()
    connection.channel()
    drain = Background(connection.drain_events)
    connection.close()
    assert isinstance(drain.error(), (LOST, type(None)))
    assert not connection.connected


def test_collect_ends_the_waits_of_others(peer, connect):
    peer.serve(mute=[commands.Queue.Declare])
    connection = connect(rpc_timeout=60)
    channel = connection.channel()
    calls = [Background(connection.drain_events), Background(channel.queue_declare, 'q')]
    peer.wire().seen(commands.Queue.Declare)
    with ends_within(SOON):
        connection.collect()
    assert [type(call.error()) for call in calls] == [LOST, LOST]


def test_collect_says_nothing_to_the_peer(peer, connect):
    peer.script(lambda p: (p.handshake(), p.serve()))
    connection = connect()
    connection.channel()
    connection.collect()
    wire = peer.finished()
    assert wire.received[-1][1].name == 'Channel.Open'


def test_collect_does_not_wait_for_a_blocked_write(connect, small_window_peer):
    peer = small_window_peer
    peer.serve()
    connection = connect(peer.host)
    channel = connection.channel()
    wire = peer.wire()
    wire.pause()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    call = Background(channel.basic_publish, Message(b'x' * 20_000_000))
    entered = threading.Event()
    threading.Thread(target=lambda: (connection.transport, entered.set()), daemon=True).start()
    assert entered.wait(SOON)
    with ends_within(SOON):
        connection.collect()
    assert isinstance(call.error(), LOST)


def test_close_from_within_a_callback(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: connection.close())
    peer.wire().deliver(1)
    drain = Background(drain_until, connection, lambda: not connection.connected)
    assert drain.error() is None or isinstance(drain.error(), LOST)
    assert not connection.connected


def test_channel_close_from_within_a_callback(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: msg.channel.close())
    peer.wire().deliver(1)
    connection.drain_events(timeout=SOON)
    assert channel.connection is None
    assert connection.channel().queue_purge('q') == 0


def test_channel_error_during_a_reopen_is_not_nested(peer, connect):
    """The peer closes the channel again upon open: an error each time, no recursion."""

    def open_(p, channel, frame):
        opened.append(channel)
        if len(opened) < 4 and len(opened) > 1:
            p.send(channel, commands.Channel.Close(406, 'PRECONDITION_FAILED', 20, 10))
        else:
            p.send(channel, commands.Channel.OpenOk())

    opened = []
    peer.serve(on={commands.Channel.Open: open_})
    connection = connect()
    channel = connection.channel()
    peer.wire().send(1, commands.Channel.Close(404, 'NOT_FOUND', 50, 10))
    with pytest.raises(amqp.NotFound):
        connection.drain_events(timeout=SOON)
    for _ in range(2):
        with pytest.raises(amqp.PreconditionFailed):
            channel.queue_purge('q')
    assert channel.queue_purge('q') == 0


def test_frames_after_the_peers_connection_close_are_not_acted_upon(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=got.append)
    wire = peer.wire()
    wire.send(0, closes())
    with pytest.raises(amqp.ConnectionForced):
        connection.drain_events(timeout=SOON)
    for _ in range(3):
        with pytest.raises(LOST):
            connection.drain_events(timeout=0)
    assert not got


def test_messages_before_the_peers_close_are_still_delivered(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=got.append)
    wire = peer.wire()
    wire.deliver(1, body=b'x')
    wire.send(0, closes())
    connection.drain_events(timeout=SOON)
    assert len(got) == 1
    with pytest.raises(amqp.ConnectionForced):
        connection.drain_events(timeout=SOON)
