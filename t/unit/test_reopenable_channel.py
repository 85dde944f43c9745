"""The life of a channel: what opens and closes it, from both sides and from several threads."""

from __future__ import annotations

import threading

import pytest
from pamqp import commands

import amqp
from amqp import reopenable_channel as module
from amqp import spec
from amqp.channel import Channel
from amqp.states import ChannelState, IllegalTransition
from t.helpers.peer import raw_method
from t.helpers.threads import Background, Interrupted, InterruptedLock, until

CLOSE = commands.Channel.Close(404, "NOT_FOUND - no 'q'", 50, 10)


@pytest.fixture
def connection(peer, connect):
    peer.serve()
    return connect()


@pytest.fixture
def channel(connection):
    return connection.channel()


@pytest.fixture
def wire(peer, channel):
    return peer.wire()


def scripted(peer, connect, on=None, mute=(), **options):
    """A channel of a peer with these handlers."""
    peer.serve(on=on or {}, mute=mute)
    return connect(**options).channel()


def drain(connection, count=1):
    for _ in range(count):
        connection.drain_events(timeout=5)


# -- opening and closing


def test_its_life(connection):
    opened = []
    channel = connection.channel(callback=opened.append)
    assert opened == [channel]
    assert channel.is_open
    assert not channel.is_closing
    assert repr(channel) == '<Channel: 1 (open)>'
    channel.open()  # is open: nothing happens
    channel.close()
    assert not channel.is_open
    assert channel.connection is None
    assert repr(channel) == '<Channel: 1 (closed)>'
    channel.close()
    channel.collect()
    assert connection.channels == {0: connection}


def test_then(channel):
    seen = []
    channel.then(seen.append)
    assert seen == [channel]


def test_a_close_with_a_reason(channel, wire):
    channel.close(541, 'why', (60, 40))
    (sent,) = wire.seen(commands.Channel.Close)
    assert (sent.reply_code, sent.reply_text) == (541, 'why')
    assert (sent.class_id, sent.method_id) == (60, 40)


def test_an_id_of_the_callers_choice(connection):
    assert connection.channel(7).channel_id == 7
    assert connection.channel(7) is connection.channels[7]
    assert connection.channel().channel_id == 1
    with pytest.raises(amqp.ConnectionError, match='7 is in use'):
        Channel(connection, 7)


def test_closed_by_the_broker_while_someone_waits(peer, connect):
    channel = scripted(
        peer, connect, on={commands.Queue.Declare: lambda w, number, _: w.send(number, CLOSE)}
    )
    with pytest.raises(amqp.NotFound) as caught:
        channel.queue_declare('q', passive=True)
    assert caught.value.reply_code == 404
    assert caught.value.method_sig == spec.Queue.Declare
    peer.wire().seen(commands.Channel.CloseOk)
    assert channel._state.state is ChannelState.REOPENABLE
    assert channel.queue_purge('q') == 0  # opens it again
    assert len(peer.wire().seen(commands.Channel.Open)) == 2
    assert channel.channel_id == 1


def closed_unasked(channel, wire):
    """Have the broker close the channel while nobody waits on it, and the close read."""
    wire.send(channel.channel_id, CLOSE)
    until(lambda: channel.connection.transport.data_is_waiting())
    channel.connection.blocking_read(timeout=5)
    assert channel._state.state is ChannelState.REOPENABLE


@pytest.mark.parametrize('by', ['drain', 'use', 'publish', 'ack', 'close', 'open'])
def test_closed_by_the_broker_while_nobody_waits(connection, channel, wire, by):
    """The error is raised once, by whatever comes first."""
    closed_unasked(channel, wire)
    calls = {
        'drain': lambda: channel.connection.drain_events(timeout=5),
        'use': lambda: channel.queue_declare('q'),
        'publish': lambda: channel.basic_publish(amqp.Message(b'x'), routing_key='q'),
        'ack': lambda: channel.basic_ack(1),
        'close': channel.close,
        'open': channel.open,
    }
    with pytest.raises(amqp.NotFound):
        calls[by]()
    with pytest.raises(TimeoutError):
        for _ in range(2):
            connection.drain_events(timeout=0)


def test_one_that_does_not_reopen(channel, wire):
    channel.reopens = False
    closed_unasked(channel, wire)
    with pytest.raises(amqp.NotFound):
        channel.open()
    for use in (channel.open, channel.tx_select, lambda: channel.basic_publish(amqp.Message(b''))):
        with pytest.raises(amqp.RecoverableChannelError, match='not to be opened again'):
            use()
    assert len(wire.seen(commands.Channel.Open)) == 1
    channel.close()
    assert channel.connection is None


def test_what_it_had_is_gone_then(channel, wire):
    channel.basic_consume('q', 'tag', callback=print, on_cancel=print, no_ack=True)
    channel.confirm_select()
    closed_unasked(channel, wire)
    assert (channel.callbacks, channel.cancel_callbacks, channel.no_ack_consumers) == (
        {},
        {},
        set(),
    )
    with pytest.raises(amqp.NotFound):
        channel.queue_declare('q')
    channel.queue_declare('q')
    assert channel.basic_publish(amqp.Message(b'x')) is None  # not in confirm mode


def test_deliveries_that_were_not_handled_yet_are_dropped_then(connection, channel, wire):
    """The broker has taken them back; an acknowledgement would be about another message."""
    seen = []
    channel.basic_consume('q', 'tag', callback=seen.append)
    wire.deliver(1, 'tag')
    until(connection.transport.data_is_waiting)
    until(lambda: connection.blocking_read(timeout=5))
    assert len(connection._events) == 1
    closed_unasked(channel, wire)
    with pytest.raises(amqp.NotFound):
        connection.drain_events(timeout=5)
    assert seen == []


def test_acknowledgements_have_no_meaning_on_a_reopened_channel(channel, wire):
    closed_unasked(channel, wire)
    with pytest.raises(amqp.NotFound):
        channel.basic_ack(1)
    for acknowledge in (
        lambda: channel.basic_ack(1),
        lambda: channel.basic_nack(1),
        lambda: channel.basic_reject(1, True),
    ):
        with pytest.raises(amqp.RecoverableChannelError, match='requeued its unacknowledged'):
            acknowledge()
    assert channel.basic_cancel('tag') is None
    assert len(wire.seen(commands.Channel.Open)) == 1


def test_no_method_follows_our_close_ok(channel, wire):
    """One that another thread was about to send would cost the whole connection (504)."""
    prepare = channel._prepare

    def prepare_late(sig):
        prepare(sig)
        closed_unasked(channel, wire)  # as another thread may read it

    channel._prepare = prepare_late
    channel._sends_directly = False
    with pytest.raises(amqp.RecoverableChannelError, match='reopenable meanwhile'):
        channel.queue_purge('q')
    channel._prepare = prepare
    with pytest.raises(amqp.NotFound):
        channel.queue_purge('q')
    assert channel.queue_purge('q') == 0
    kinds = [type(frame) for number, frame in wire.received if number == 1]
    assert kinds[1:] == [commands.Channel.CloseOk, commands.Channel.Open, commands.Queue.Purge]


def test_a_close_that_comes_second(connection, channel, wire):
    prepare = channel._prepare

    def prepare_late(sig):
        prepare(sig)
        closed_unasked(channel, wire)

    channel._prepare = prepare_late
    with pytest.raises(amqp.NotFound):
        channel.close()
    assert channel.connection is None
    connection.channel()
    wire.seen(commands.Channel.Open, 2)
    assert not [frame for _, frame in wire.received if isinstance(frame, commands.Channel.Close)]


def test_two_threads_close(peer, connect):
    channel = scripted(peer, connect, mute=[commands.Channel.Close])
    wire, prepare, others = peer.wire(), channel._prepare, []

    def prepare_late(sig):
        prepare(sig)
        if threading.current_thread() is threading.main_thread():
            others.append(Background(channel.close))  # the other one is faster
            wire.seen(commands.Channel.Close)

    channel._prepare = prepare_late
    channel.close()
    assert channel.is_closing
    channel.close()  # returns at once
    wire.send(1, commands.Channel.CloseOk())
    others[0].result()
    assert channel.connection is None
    assert len(wire.seen(commands.Channel.Close)) == 1


@pytest.mark.parametrize('answered', [True, False])
def test_both_sides_close_at_once(peer, connect, answered):
    """RabbitMQ leaves our close unread where the channel's error comes before it."""

    def cross(wire, number, _):
        wire.send(number, CLOSE)
        if answered:
            wire.send(number, commands.Channel.CloseOk())

    peer.serve(on={commands.Channel.Close: cross}, handshake={'channel_max': 1})
    connection = connect()
    channel = connection.channel()
    with pytest.raises(amqp.NotFound):
        channel.close()
    peer.wire().seen(commands.Channel.CloseOk)
    assert connection.channel().queue_declare('q').queue == 'q'
    assert not connection._registry.settle_crossing(1)


def test_a_late_close_ok_while_nobody_has_the_number(peer, connect):
    peer.serve(
        on={commands.Channel.Close: lambda wire, number, _: wire.send(number, CLOSE)},
        handshake={'channel_max': 1},
    )
    connection = connect()
    with pytest.raises(amqp.NotFound):
        connection.channel().close()
    wire = peer.wire()
    wire.send(1, commands.Channel.CloseOk())
    assert connection.blocking_read(timeout=5)
    wire.send(1, commands.Channel.CloseOk())
    with pytest.raises(amqp.ChannelNotOpen):
        connection.blocking_read(timeout=5)


@pytest.mark.parametrize('state', [ChannelState.NEW, ChannelState.OPENING, ChannelState.CLOSED])
def test_a_late_close_ok_while_the_number_has_another_channel(channel, wire, state):
    connection = channel.connection
    for _ in range(2):
        connection._registry.note_crossing(1)
        channel._state.state = state
        wire.send(1, commands.Channel.CloseOk())
        connection.blocking_read(timeout=5)
    assert not connection._registry.settle_crossing(1)
    assert connection.is_alive()


def test_a_close_ok_that_nothing_explains(channel, wire):
    """The next method on a number settles it: no close-ok of the last channel can follow."""
    connection = channel.connection
    connection._registry.note_crossing(1)
    channel._state.state = ChannelState.OPENING
    wire.send(1, commands.Channel.OpenOk(), commands.Channel.CloseOk())
    with pytest.raises(amqp.UnexpectedFrame, match='close-ok is not possible while open'):
        drain(connection, 2)


def test_closes_that_cross_on_a_number_that_rests(peer, connect):
    channel = scripted(
        peer, connect, mute=[commands.Queue.Purge, commands.Channel.Close], rpc_timeout=0.05
    )
    connection = channel.connection
    with pytest.raises(amqp.RPCTimeout):
        channel.queue_purge('q')
    peer.wire().send(1, CLOSE)
    connection.blocking_read(timeout=5)
    assert 1 not in connection._registry.ids
    peer.wire().send(1, commands.Channel.CloseOk())
    connection.blocking_read(timeout=5)
    assert connection.is_alive()


def test_collected_while_the_close_of_the_broker_is_answered(channel, wire):
    """By another thread, say: it is no breach of the protocol."""
    connection = channel.connection
    write = connection.frame_writer

    def collect(*args):
        write(*args)
        channel.collect()

    connection.frame_writer = collect
    wire.send(1, CLOSE)
    assert connection.blocking_read(timeout=5)
    assert wire.seen(commands.Channel.CloseOk)
    assert connection.is_alive()


def test_nothing_else_is_acted_upon_while_closing(peer, connect):
    def late(wire, number, _):
        wire.deliver(number, 'tag')
        wire.send(number, commands.Basic.Cancel('tag'), commands.Channel.CloseOk())

    channel = scripted(peer, connect, on={commands.Channel.Close: late})
    seen = []
    channel.basic_consume('q', 'tag', callback=seen.append, no_ack=True)
    channel.close()
    assert seen == []


def test_use_while_closing(peer, connect):
    channel = scripted(peer, connect, mute=[commands.Channel.Close])
    wire = peer.wire()
    closing = Background(channel.close)
    wire.seen(commands.Channel.Close)
    for call in (lambda: channel.queue_declare('q'), lambda: channel.basic_ack(1), channel.open):
        with pytest.raises(amqp.RecoverableChannelError, match='closing'):
            call()
    wire.send(1, commands.Channel.CloseOk())
    closing.result()


def test_after_its_close_every_method_says_so(channel):
    channel.close()
    for call in (
        lambda: channel.queue_declare('q'),
        lambda: channel.basic_publish(amqp.Message(b'x')),
        lambda: channel.basic_publish_confirm(amqp.Message(b'x')),
        lambda: channel.basic_consume('q'),
        lambda: channel.basic_ack(1),
        channel.open,
    ):
        with pytest.raises(amqp.RecoverableConnectionError, match='the channel is closed'):
            call()
    assert channel.basic_cancel('tag') is None


def test_an_open_that_is_refused(peer, connect):
    peer.serve(on={commands.Channel.Open: lambda wire, number, _: wire.send(number, CLOSE)})
    connection = connect()
    with pytest.raises(amqp.NotFound):
        connection.channel()
    assert connection.channels == {0: connection}
    assert len(connection._registry.ids) == 0


def test_two_threads_open_it_again_and_one_does(channel, wire, peer):
    closed_unasked(channel, wire)
    with pytest.raises(amqp.NotFound):
        channel.basic_ack(1)
    opened = []
    channel.on_open = opened.append
    calls = [Background(channel.queue_declare, 'q') for _ in range(8)]
    for call in calls:
        assert call.result().queue == 'q'
    assert len(wire.seen(commands.Channel.Open)) == 2
    assert opened == [channel]


@pytest.mark.parametrize('error', [TimeoutError, KeyError])
def test_a_callback_that_raises_while_another_channel_opens(peer, connect, error):
    """The reply to the open is still to come; the channel is neither stuck nor out of step."""

    def callback(message):
        raise error('mine')

    def answer(wire, number, _):
        if number == 1:
            wire.send(number, commands.Channel.OpenOk())
        else:
            wire.deliver(1, 'tag')

    peer.serve(on={commands.Channel.Open: answer})
    connection = connect()
    connection.channel().basic_consume('q', 'tag', callback=callback, no_ack=True)
    channel = Channel(connection)
    with pytest.raises(error, match='mine'):
        channel.open()
    peer.wire().send(2, commands.Channel.OpenOk())
    assert channel.queue_declare('q').queue == 'q'


# -- replies that are overdue


def test_an_overdue_reply_closes_the_channel_and_matches_nothing_later(peer, connect):
    channel = scripted(
        peer, connect, mute=[commands.Queue.Purge, commands.Channel.Close], rpc_timeout=0.05
    )
    wire, connection = peer.wire(), channel.connection
    with pytest.raises(amqp.RPCTimeout, match=r'no Queue.PurgeOk within 0\.05 s') as caught:
        channel.queue_purge('q')
    assert not isinstance(caught.value, TimeoutError)
    connection.rpc_timeout = 5
    assert wire.seen(commands.Channel.Close, channel=1)
    assert channel.channel_id == 2
    purge = Background(channel.queue_purge, 'q')
    wire.seen(commands.Queue.Purge, 1, channel=2)
    wire.send(1, commands.Queue.PurgeOk(1))  # late, for the old number
    wire.send(2, commands.Queue.PurgeOk(2))
    assert purge.result() == 2
    assert connection._registry.ids.is_resting(1)
    wire.send(1, commands.Channel.CloseOk())
    connection.blocking_read(timeout=5)
    assert 1 not in connection._registry.ids


def test_an_overdue_open(peer, connect):
    peer.serve(mute=[commands.Channel.Open])
    connection = connect(rpc_timeout=0.05)
    with pytest.raises(amqp.RPCTimeout, match='no Channel'):
        connection.channel()
    assert connection.channels == {0: connection}


def test_an_open_that_another_thread_has_given_up(peer, connect):
    """A signal handler's exception has ended its wait, say; the reply never comes."""
    peer.serve(mute=[commands.Channel.Open])
    connection = connect(rpc_timeout=0.05)
    channel = Channel(connection)
    assert channel._begin_opening()
    with pytest.raises(amqp.RPCTimeout, match=r'no Channel.OpenOk within 0\.05 s') as caught:
        channel.open()
    assert not isinstance(caught.value, TimeoutError)
    assert channel._state.state is ChannelState.REOPENABLE
    assert channel.channel_id == 2


def test_a_timeout_of_a_callback_while_another_thread_opens(channel, wire):
    def callback(message):
        raise TimeoutError('mine')

    channel.basic_consume('q', 'tag', callback=callback, no_ack=True)
    other = Channel(channel.connection)
    assert other._begin_opening()
    wire.deliver(1, 'tag')
    with pytest.raises(TimeoutError, match='mine'):
        other.open()


def test_an_overdue_close(peer, connect):
    channel = scripted(peer, connect, mute=[commands.Channel.Close], rpc_timeout=0.05)
    connection = channel.connection
    with pytest.raises(amqp.RPCTimeout, match='no Channel'):
        channel.close()
    assert channel.connection is None
    assert connection._registry.ids.is_resting(1)
    assert connection.is_alive()


def test_an_overdue_reply_where_all_numbers_are_taken(peer, connect):
    peer.serve(handshake={'channel_max': 1}, mute=[commands.Queue.Purge])
    channel = connect(rpc_timeout=0.05).channel()
    with pytest.raises(amqp.RPCTimeout):
        channel.queue_purge('q')
    with pytest.raises(amqp.RecoverableConnectionError):
        channel.queue_purge('q')


def test_an_overdue_wait_on_a_channel_that_is_closed_already(channel, wire):
    closed_unasked(channel, wire)
    channel.connection.rpc_timeout = 0.02
    with pytest.raises(amqp.RPCTimeout):
        channel.wait(spec.Queue.PurgeOk)


# -- what the broker may not do


@pytest.mark.parametrize(
    ('method', 'text'),
    [
        (commands.Channel.OpenOk(), 'channel 1: receive open-ok is not possible while open'),
        (commands.Channel.CloseOk(), 'channel 1: receive close-ok is not possible while open'),
    ],
)
def test_out_of_order(channel, wire, method, text):
    wire.send(1, method)
    with pytest.raises(amqp.UnexpectedFrame, match=text):
        drain(channel.connection)


def test_methods_on_a_channel_that_it_has_closed(channel, wire):
    closed_unasked(channel, wire)
    wire.send(1, commands.Queue.PurgeOk(1))
    with pytest.raises(amqp.UnexpectedFrame, match='channel 1 is reopenable'):
        channel.connection.blocking_read(timeout=5)


def test_methods_for_a_channel_that_another_thread_has_collected(channel):
    channel.collect()
    channel.dispatch_method(spec.Queue.PurgeOk, raw_method(1, spec.Queue.PurgeOk)[7:-1], None)
    channel._answer(spec.Channel.CloseOk)  # has nobody to tell


# -- what can't be written


def failing_once(connection, error):
    """Have the next write raise, before an octet has left."""
    write = connection.frame_writer

    def fail(*args):
        connection.frame_writer = write
        raise error

    connection.frame_writer = fail


@pytest.mark.parametrize('error', [TimeoutError('busy'), KeyboardInterrupt()])
def test_an_open_that_was_not_sent_may_be_tried_again(connection, error):
    channel = Channel(connection)
    failing_once(connection, error)
    with pytest.raises(type(error)):
        channel.open()
    if isinstance(error, TimeoutError):
        assert channel.queue_declare('q').queue == 'q'
    assert connection.is_alive()


@pytest.mark.parametrize('error', [TimeoutError('busy'), KeyboardInterrupt()])
def test_a_close_that_was_not_sent(connection, channel, error):
    failing_once(connection, error)
    with pytest.raises(type(error)):
        channel.close()
    assert channel.connection is None
    assert connection.is_alive()


def test_the_reader_does_not_wait_long_for_one_that_writes(connection, channel, wire, monkeypatch):
    """A broker that takes nothing while it closes the channel is given up."""
    monkeypatch.setattr(module, 'ANSWER_PATIENCE', 0.02)
    held, release = threading.Event(), threading.Event()

    def hold():
        with channel._send_lock:
            held.set()
            release.wait(10)

    holder = Background(hold)
    assert held.wait(10)
    wire.send(1, CLOSE)
    with pytest.raises(amqp.RecoverableConnectionError, match="doesn't take what is being sent"):
        connection.drain_events(timeout=5)
    release.set()
    holder.result()
    assert not connection.connected


def test_an_exception_right_behind_the_taking_of_the_lock_leaves_it_to_be_had(channel, wire):
    connection = channel.connection
    lock, channel._send_lock = channel._send_lock, InterruptedLock(channel._send_lock)
    wire.send(1, CLOSE)
    with pytest.raises(Interrupted):
        connection.drain_events(timeout=5)
    assert not connection.connected  # the close was read, and not acted upon
    assert Background(lock.acquire, timeout=5).result()


def test_the_close_of_the_broker_is_answered_by_one_that_writes(channel, wire):
    """Its failing write may have it read what the broker said last."""
    with channel._send_lock:
        wire.send(1, CLOSE)
        channel.connection.blocking_read(timeout=5)
        assert not Background(channel._send_lock.acquire, blocking=False).result()
    assert wire.seen(commands.Channel.CloseOk)
    assert Background(channel._send_lock.acquire, blocking=False).result()


def test_a_connection_that_ends_while_a_channel_begins_to_open(connection):
    """Between the look at the state and the step that follows it."""

    class Overtaken:
        state = ChannelState.NEW

        def advance(self, event):
            connection.collect()
            self.state = ChannelState.CLOSED
            raise IllegalTransition(self.state, event)

    channel = amqp.Channel(connection)
    state, channel._state = channel._state, Overtaken()
    with pytest.raises(amqp.RecoverableConnectionError):
        channel.open()
    channel._state = state
