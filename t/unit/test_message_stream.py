"""Loops over messages: what they yield, how they end, and what goes back then."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from pamqp import commands

import amqp
from t.helpers.threads import SOON, Background, until

from .support import CLOSE, drain, scripted


def deliver(wire, stream, *tags, channel=1):
    for tag in tags:
        wire.deliver(channel, stream.consumer_tag, tag, f'{tag}'.encode())


def rejected(wire, count):
    """The tags that were given back."""
    sent = wire.seen(commands.Basic.Reject, count)
    assert all(each.requeue for each in sent)
    return [each.delivery_tag for each in sent]


def settled(wire):
    """All that the wire has seen of acknowledgements, as (method, tag)."""
    kinds = (commands.Basic.Ack, commands.Basic.Nack, commands.Basic.Reject)
    return [
        (frame.name, frame.delivery_tag) for _, frame in wire.received if isinstance(frame, kinds)
    ]


def sync(channel):
    """Have the peer take in all that was sent."""
    channel.queue_declare('sync')


def waits(connection):
    return bool(connection.transport._waiting)


# -- what is yielded


def test_messages_in_order(channel, wire):
    stream = channel.consume('q', exclusive=True, arguments={'x': 1})
    (asked,) = wire.seen(commands.Basic.Consume)
    assert (asked.queue, asked.exclusive, asked.no_ack) == ('q', True, False)
    assert asked.arguments == {'x': 1}
    assert channel.consumer_tags == [stream.consumer_tag]
    deliver(wire, stream, 1, 2, 3)
    messages = [next(stream) for _ in range(3)]
    assert [message.body for message in messages] == [b'1', b'2', b'3']
    assert messages[0].channel is channel
    assert messages[0].delivery_info['consumer_tag'] == stream.consumer_tag
    assert iter(stream) is stream


def test_long_and_decoded_ones(channel, wire):
    stream = channel.consume('q', no_ack=True)
    properties = commands.Basic.Properties(content_encoding='utf-8')
    for body in ('é', 'é' * 5000):
        wire.deliver(1, stream.consumer_tag, body=body.encode(), properties=properties)
        assert next(stream).body == body


def test_of_what_came_before_the_consume_ok(peer, connect):
    def eager(wire, number, asked):
        wire.deliver(number, asked.consumer_tag, 1, b'early')
        wire.send(number, commands.Basic.ConsumeOk(asked.consumer_tag))

    channel = scripted(peer, connect, on={commands.Basic.Consume: eager})
    assert next(channel.consume('q')).body == b'early'


def test_none_after_a_time_of_inactivity(channel, wire):
    stream = channel.consume('q', inactivity_timeout=0.01)
    assert [next(stream), next(stream)] == [None, None]
    deliver(wire, stream, 1)
    until(lambda: (message := next(stream)) is not None and message.delivery_tag == 1)


def test_other_events_do_not_restart_that_time(connection, channel):
    def again():
        connection.call_later(0.001, again)

    again()
    stream = channel.consume('q', inactivity_timeout=0.02)
    assert next(stream) is None


def test_without_it_the_wait_ends_as_any_other(peer, connect):
    channel = scripted(peer, connect, read_timeout=0.02)
    stream = channel.consume('q')
    with pytest.raises(TimeoutError):
        next(stream)


def test_prefetch_is_asked_for_first(channel, wire):
    stream = channel.consume('q', prefetch=7)
    kinds = [type(frame) for _, frame in wire.received]
    assert kinds.index(commands.Basic.Qos) < kinds.index(commands.Basic.Consume)
    (qos,) = wire.seen(commands.Basic.Qos)
    assert (qos.prefetch_count, qos.global_) == (7, False)
    del stream


@pytest.mark.parametrize(
    ('options', 'error', 'text'),
    [
        ({'prefetch': 1.5}, TypeError, "'prefetch'"),
        ({'prefetch': True}, TypeError, "'prefetch'"),
        ({'prefetch': -1}, ValueError, "'prefetch'"),
        ({'prefetch': 65536}, ValueError, "'prefetch'"),
        ({'inactivity_timeout': '1'}, TypeError, "'inactivity_timeout'"),
        ({'inactivity_timeout': float('nan')}, ValueError, "'inactivity_timeout'"),
        ({'queue': 'q' * 256, 'prefetch': 1}, amqp.EncodeError, "'queue'"),
        ({'arguments': {'x': object()}, 'prefetch': 1}, amqp.EncodeError, 'x'),
    ],
)
def test_wrong_arguments_send_nothing(channel, options, error, text):
    sent = channel.connection.bytes_sent
    with pytest.raises(error, match=text):
        channel.consume(**{'queue': 'q', **options})
    assert channel.connection.bytes_sent == sent
    assert channel.consumer_tags == []


def test_a_consumer_that_is_refused(peer, connect):
    channel = scripted(
        peer, connect, on={commands.Basic.Consume: lambda w, number, _: w.send(number, CLOSE)}
    )
    with pytest.raises(amqp.NotFound):
        channel.consume('q')
    assert channel.consumer_tags == []


def test_what_is_raised_while_it_is_started_cancels_it(peer, connect):
    """By a signal handler, say; here by a callback that runs meanwhile."""

    def answer(wire, number, asked):
        if asked.queue == 'q':
            wire.deliver(number, 'other')
        wire.send(number, commands.Basic.ConsumeOk(asked.consumer_tag))

    def interrupt(message):
        raise KeyboardInterrupt

    channel = scripted(peer, connect, on={commands.Basic.Consume: answer})
    channel.basic_consume('another', 'other', callback=interrupt, no_ack=True)
    with pytest.raises(KeyboardInterrupt):
        channel.consume('q')
    assert peer.wire().seen(commands.Basic.Cancel)[0].consumer_tag != 'other'
    assert channel.consumer_tags == ['other']


# -- how it ends


def test_a_loop_that_is_left_gives_back_what_is_not_settled(channel, wire):
    stream = channel.consume('q')
    tag = stream.consumer_tag
    deliver(wire, stream, 1, 2, 3, 4, 5)
    for message in stream:
        if message.delivery_tag == 3:
            break
        channel.basic_ack(message.delivery_tag)
    del stream, message
    # The one in hand, too: nobody has settled it.
    assert sorted(rejected(wire, 3)) == [3, 4, 5]
    assert wire.seen(commands.Basic.Cancel)[0].consumer_tag == tag
    assert channel.consumer_tags == []


def loop(channel, wire, act):
    """A loop that nobody holds, over three messages."""
    made = channel.consume

    def consume(queue):
        stream = made(queue)
        deliver(wire, stream, 1, 2, 3)
        return stream

    for message in consume('q'):
        act(message)


class UserError(Exception):
    pass


def test_a_loop_that_is_left_by_an_exception_does_so_before_that_goes_on(channel, wire):
    def fail(message):
        raise UserError

    with pytest.raises(UserError):
        loop(channel, wire, fail)
    assert channel.consumer_tags == []
    assert sorted(rejected(wire, 3)) == [1, 2, 3]


@pytest.mark.parametrize(
    ('settle', 'back'),
    [
        (lambda c: c.basic_ack(2, multiple=True), [3]),
        (lambda c: c.basic_ack(0, multiple=True), []),
        (lambda c: c.basic_nack(2, multiple=True), [3]),
        (lambda c: c.basic_nack(1, requeue=False), [2, 3]),
        (lambda c: c.basic_reject(1, True), [2, 3]),
        (lambda c: c.basic_ack(1, argsig='L' + 'b'), [2, 3]),
    ],
)
def test_what_has_been_settled_is_not_given_back(channel, wire, settle, back):
    stream = channel.consume('q')
    deliver(wire, stream, 1, 2, 3)
    for _ in range(3):
        next(stream)
    settle(channel)
    del stream
    sync(channel)
    assert settled(wire)[1:] == [('Basic.Reject', tag) for tag in back]


def test_an_acknowledgement_that_cannot_be_sent_settles_nothing(channel, wire):
    stream = channel.consume('q')
    deliver(wire, stream, 1)
    next(stream)
    with pytest.raises(amqp.EncodeError):
        channel.basic_ack('1')
    del stream
    sync(channel)
    assert settled(wire) == [('Basic.Reject', 1)]


def test_cancelled_within_the_loop(channel, wire):
    stream = channel.consume('q')
    deliver(wire, stream, 1, 2, 3)
    seen = []
    for message in stream:
        seen.append(message.delivery_tag)
        stream.cancel()
        assert sorted(rejected(wire, 2)) == [2, 3]
        channel.basic_ack(message.delivery_tag)  # that in hand is still ours
    assert seen == [1]
    stream.cancel()
    assert list(stream) == []
    del stream
    sync(channel)
    assert len(wire.seen(commands.Basic.Cancel)) == 1
    assert len(settled(wire)) == 3


def test_messages_on_their_way_are_given_back_too(peer, connect):
    def late(wire, number, asked):
        wire.deliver(number, asked.consumer_tag, 1)
        wire.send(number, commands.Basic.CancelOk(asked.consumer_tag))

    channel = scripted(peer, connect, on={commands.Basic.Cancel: late})
    channel.consume('q').cancel()
    assert rejected(peer.wire(), 1) == [1]


def test_cancelled_by_the_broker(channel, wire):
    """What has come by then is yielded still."""
    stream = channel.consume('q')
    deliver(wire, stream, 1, 2)
    wire.send(1, commands.Basic.Cancel(stream.consumer_tag, True))
    assert [message.delivery_tag for message in stream] == [1, 2]
    del stream
    assert sorted(rejected(wire, 2)) == [1, 2]
    assert not [f for _, f in wire.received if isinstance(f, commands.Basic.Cancel)]
    with pytest.raises(TimeoutError):
        channel.connection.drain_events(timeout=0)


@pytest.mark.parametrize('nowait', [False, True])
def test_cancelled_by_its_tag(channel, wire, nowait):
    stream = channel.consume('q')
    deliver(wire, stream, 1, 2)
    assert next(stream).delivery_tag == 1
    channel.basic_cancel(stream.consumer_tag, nowait=nowait)
    assert [message.delivery_tag for message in stream] == [2]
    assert channel.consumer_tags == []


def test_without_acknowledgements_nothing_is_lost_by_a_cancel(channel, wire):
    stream = channel.consume('q', no_ack=True)
    deliver(wire, stream, 1, 2, 3)
    assert next(stream).delivery_tag == 1
    stream.cancel()
    assert [message.delivery_tag for message in stream] == [2, 3]
    del stream
    sync(channel)
    assert settled(wire) == []


def test_a_with_block(channel, wire):
    with channel.consume('q') as stream:
        deliver(wire, stream, 1, 2)
        for message in stream:
            if message.delivery_tag == 2:
                break
            channel.basic_ack(message.delivery_tag)
    assert rejected(wire, 1) == [2]
    assert channel.consumer_tags == []
    with pytest.raises(UserError):
        with channel.consume('q') as stream:
            raise UserError
    assert channel.consumer_tags == []


def test_a_with_block_whose_connection_is_lost(peer, connect):
    channel = scripted(peer, connect)
    with pytest.raises(UserError):
        with channel.consume('q'):
            peer.wire().eof()
            raise UserError
    connection = connect()
    stream = connection.channel().consume('q')
    with stream:
        connection.collect()
    with pytest.raises(amqp.RecoverableConnectionError):
        next(stream)


# -- what loses the channel


def test_the_broker_closes_the_channel(channel, wire):
    stream = channel.consume('q')
    deliver(wire, stream, 1)
    wire.send(1, CLOSE)
    assert next(stream).delivery_tag == 1
    for _ in range(2):
        with pytest.raises(amqp.NotFound):
            next(stream)
    with pytest.raises(TimeoutError):
        channel.connection.drain_events(timeout=0)  # it has been told
    del stream
    sync(channel)
    assert settled(wire) == []


def test_another_thread_reads_that(peer, connect):
    channel = scripted(peer, connect)
    connection = channel.connection
    stream = channel.consume('q')
    waiting = Background(next, stream)
    until(lambda: waits(connection))
    others = [Background(connection.channel().wait, (50, 11)) for _ in range(2)]
    peer.wire().send(1, CLOSE)
    assert isinstance(waiting.error(), amqp.NotFound)
    connection.collect()
    assert all(isinstance(each.error(), amqp.RecoverableConnectionError) for each in others)


def test_the_close_was_noticed_by_another_call(channel, wire):
    stream = channel.consume('q')
    wire.send(1, CLOSE)
    drained = Background(drain, channel.connection)
    assert isinstance(drained.error(), amqp.NotFound)
    assert channel.queue_declare('q').queue == 'q'  # opens it again
    with pytest.raises(amqp.NotFound):
        next(stream)
    assert channel.consume('q').consumer_tag != stream.consumer_tag


def test_a_tag_of_the_channel_before_is_not_settled_on_the_next(channel, wire):
    stream = channel.consume('q')
    deliver(wire, stream, 1)
    next(stream)
    wire.send(1, CLOSE)
    with pytest.raises(amqp.NotFound):
        drain(channel.connection)
    other = channel.consume('q')
    deliver(wire, other, 1)
    assert next(other).delivery_tag == 1
    del stream
    sync(channel)
    assert settled(wire) == []
    del other
    assert rejected(wire, 1) == [1]


@pytest.mark.parametrize('waited', [True, False])
def test_the_loop_of_greenlets_does_not_wait(channel, wire, monkeypatch, waited):
    """It may be what lets go of a stream in the end, for it keeps what a wait was made with."""
    stream = channel.consume('q')
    if waited:
        wire.deliver(1, stream.consumer_tag, 1)
        assert next(stream).delivery_tag == 1
    with monkeypatch.context() as patched:
        patched.setattr(threading, 'get_ident', lambda: -1)
        del stream
    assert len(channel.consumer_tags) == 1
    sync(channel)  # a wait of any greenlet closes it
    assert channel.consumer_tags == []
    assert rejected(wire, waited) == [1] * waited


@pytest.mark.parametrize('no_ack', [True, False])
def test_the_connection_is_lost(peer, connect, no_ack):
    """What needs an acknowledgement is delivered again; what needs none is yielded."""
    channel = scripted(peer, connect)
    stream = channel.consume('q', no_ack=no_ack)
    wire = peer.wire()
    deliver(wire, stream, 1, 2)
    assert next(stream).delivery_tag == 1
    wire.eof()
    with pytest.raises(amqp.RecoverableConnectionError):
        while True:
            channel.connection.drain_events(timeout=SOON)
    if no_ack:
        assert next(stream).delivery_tag == 2
    for _ in range(2):
        with pytest.raises(amqp.RecoverableConnectionError):
            next(stream)
    del stream


@pytest.mark.parametrize('end', ['channel', 'connection', 'collect'])
def test_closed_by_ourselves_while_another_thread_waits(connection, channel, end):
    stream = channel.consume('q')
    waiting = Background(next, stream)
    until(lambda: waits(connection))
    {'channel': channel.close, 'connection': connection.close, 'collect': connection.collect}[end]()
    assert isinstance(waiting.error(), amqp.RecoverableConnectionError)


def test_the_reply_to_the_cancel_is_overdue(peer, connect):
    channel = scripted(peer, connect, mute=[commands.Basic.Cancel], rpc_timeout=0.05)
    stream = channel.consume('q')
    with pytest.raises(amqp.RPCTimeout):
        stream.cancel()
    del stream  # the channel is closed, and its messages are back
    assert channel.queue_declare('q').queue == 'q'


def test_messages_that_are_recovered(channel, wire):
    """They are delivered again, by other tags."""
    stream = channel.consume('q')
    deliver(wire, stream, 1, 2)
    assert next(stream).delivery_tag == 1
    channel.basic_recover(True)
    deliver(wire, stream, 3, 4)
    assert next(stream).delivery_tag == 3
    del stream
    assert sorted(rejected(wire, 2)) == [3, 4]


# -- several loops


def test_nested_loops_on_one_channel_and_on_another(connection, channel, wire):
    other = connection.channel()
    seen = []
    with channel.consume('a') as first, channel.consume('b') as second, other.consume('c') as third:
        for tag in (1, 4):
            deliver(wire, first, tag)
            deliver(wire, second, tag + 1)
            deliver(wire, third, tag // 2 + 1, channel=2)
        for a, b, c in zip(first, second, third, strict=False):
            seen.append((a.delivery_tag, b.delivery_tag, c.delivery_tag))
            for message in (a, b, c):
                message.channel.basic_ack(message.delivery_tag)
            if len(seen) == 2:
                break
    assert seen == [(1, 2, 1), (4, 5, 3)]
    assert sorted(tag for name, tag in settled(wire)) == [1, 1, 2, 3, 4, 5]


def test_callbacks_run_meanwhile(channel, wire):
    seen = []
    channel.basic_consume('q', 'tag', callback=lambda m: seen.append(m.body), no_ack=True)
    stream = channel.consume('q')
    wire.deliver(1, 'tag', 1, b'first')
    deliver(wire, stream, 2)
    wire.deliver(1, 'tag', 3, b'second')
    deliver(wire, stream, 4)
    assert [next(stream).delivery_tag, next(stream).delivery_tag] == [2, 4]
    assert seen[0] == b'first'
    with pytest.raises(TimeoutError):
        while True:
            channel.connection.drain_events(timeout=0)
    assert seen == [b'first', b'second']


def test_a_loop_within_a_callback(channel, wire):
    seen = []

    def callback(message):
        for inner in stream:
            seen.append(inner.delivery_tag)
            break

    stream = channel.consume('q')
    channel.basic_consume('q', 'tag', callback=callback, no_ack=True)
    wire.deliver(1, 'tag', 1)
    deliver(wire, stream, 2)
    while not seen:
        drain(channel.connection)
    assert seen == [2]


def test_a_loop_for_each_thread(connection, peer):
    """Whichever reads, each gets its own messages in order."""
    wire = peer.wire()
    channels = [connection.channel() for _ in range(3)]
    streams = [channel.consume('q') for channel in channels]

    def take(stream):
        return [next(stream).delivery_tag for _ in range(200)]

    loops = [Background(take, stream) for stream in streams]
    for tag in range(1, 201):
        for number, stream in enumerate(streams, 1):
            deliver(wire, stream, tag, channel=number)
    for each in loops:
        assert each.result() == list(range(1, 201))


def test_cancelled_by_another_thread(connection, channel):
    stream = channel.consume('q')
    looping = Background(list, stream)
    until(lambda: waits(connection))
    stream.cancel()
    assert looping.result() == []


def test_cancelled_without_a_wait_by_another_thread(connection, channel):
    stream = channel.consume('q')
    looping = Background(list, stream)
    until(lambda: waits(connection))
    channel.basic_cancel(stream.consumer_tag, nowait=True)
    assert looping.result() == []


class OwnDrain(amqp.Connection):
    """Another package's connection, which drains in its own way."""

    def drain_events(self, timeout=None):
        super().drain_events(timeout)


def test_a_connection_that_drains_in_its_own_way(peer, connect):
    peer.serve()
    channel = connect(OwnDrain).channel()
    stream = channel.consume('q', inactivity_timeout=SOON)
    deliver(peer.wire(), stream, 1, 2)
    assert [next(stream).delivery_tag, next(stream).delivery_tag] == [1, 2]


class OwnDispatch(amqp.Channel):
    """Another package's channel, which looks at each method."""

    def dispatch_method(self, method_sig, payload, content):
        super().dispatch_method(method_sig, payload, content)


def test_a_channel_that_dispatches_in_its_own_way(peer, connect):
    peer.serve()
    connection = connect()
    channel = OwnDispatch(connection)
    channel.open()
    stream = channel.consume('q')
    deliver(peer.wire(), stream, 1, 2)
    assert [next(stream).delivery_tag, next(stream).delivery_tag] == [1, 2]


# -- let go of


def test_one_that_is_never_iterated_over(channel, wire):
    channel.consume('q')
    assert wire.seen(commands.Basic.Cancel)
    assert channel.consumer_tags == []


def test_one_that_the_garbage_collector_finds_is_closed_by_the_next_drain(channel, wire):
    """It may be at work anywhere, within our own locks, say: nothing is sent there."""
    stream = channel.consume('q')
    deliver(wire, stream, 1)
    next(stream)
    circle = [stream]
    circle.append(circle)
    sent = channel.connection.bytes_sent
    del stream, circle
    gc.collect()
    assert channel.connection.bytes_sent == sent
    drain(channel.connection)
    assert rejected(wire, 1) == [1]
    assert channel.consumer_tags == []


def test_a_lost_connection_is_freed_at_once(peer, connect):
    channel = scripted(peer, connect)
    stream = channel.consume('q')
    freed = weakref.ref(channel)
    channel.connection.collect()
    gc.collect()
    gc.disable()
    try:
        del stream, channel
        assert freed() is None
    finally:
        gc.enable()


def test_its_repr_tells_whether_it_is_over(channel):
    stream = channel.consume('q')
    assert repr(stream) == f'<MessageStream of {stream.consumer_tag} (open)>'
    stream.cancel()
    assert repr(stream) == f'<MessageStream of {stream.consumer_tag} (over)>'


def test_a_thread_that_acknowledges_beside_the_loop(channel, wire):
    """Each message is settled once, though a loop is left meanwhile."""
    stream = channel.consume('q')
    deliver(wire, stream, *range(1, 101))
    messages = [next(stream) for _ in range(100)]
    start = threading.Event()

    def acknowledge():
        start.wait(SOON)
        for message in messages:
            with message.process():
                pass

    acknowledging = Background(acknowledge)
    start.set()
    stream._feed.close()
    acknowledging.result()
    sync(channel)
    assert sorted(tag for _, tag in settled(wire)) == list(range(1, 101))
