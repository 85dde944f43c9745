"""Channels, over real bytes: what each method sends and returns, and what becomes of a channel."""

from __future__ import annotations

import logging
import threading

import pytest
from pamqp import commands
from pamqp.header import ContentHeader

import amqp
from amqp.channel import Channel
from amqp.consuming_channel import REJECTED_MESSAGE_WITHOUT_CALLBACK
from amqp.protocol import queue_declare_ok_t
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


# -- every method: its bytes, its result

TABLE = {'x': 1}


@pytest.mark.parametrize(
    ('call', 'kind', 'fields', 'result'),
    [
        (
            lambda c: c.exchange_declare('e', 'topic'),
            commands.Exchange.Declare,
            {
                'exchange': 'e',
                'exchange_type': 'topic',
                'passive': False,
                'durable': False,
                'auto_delete': True,
                'internal': False,
                'nowait': False,
                'arguments': {},
            },
            None,
        ),
        (
            lambda c: c.exchange_declare(
                'e', 'fanout', True, True, False, False, TABLE, internal=True
            ),
            commands.Exchange.Declare,
            {
                'passive': True,
                'durable': True,
                'auto_delete': False,
                'internal': True,
                'arguments': TABLE,
            },
            None,
        ),
        (
            lambda c: c.exchange_delete('e', True),
            commands.Exchange.Delete,
            {'exchange': 'e', 'if_unused': True, 'nowait': False},
            None,
        ),
        (
            lambda c: c.exchange_bind('d', 's', 'k', arguments=TABLE),
            commands.Exchange.Bind,
            {'destination': 'd', 'source': 's', 'routing_key': 'k', 'arguments': TABLE},
            None,
        ),
        (
            lambda c: c.exchange_unbind('d', 's', 'k', arguments=TABLE),
            commands.Exchange.Unbind,
            {'destination': 'd', 'source': 's', 'routing_key': 'k', 'arguments': TABLE},
            None,
        ),
        (
            lambda c: c.queue_declare(),
            commands.Queue.Declare,
            {
                'queue': '',
                'passive': False,
                'durable': False,
                'exclusive': False,
                'auto_delete': True,
                'nowait': False,
            },
            queue_declare_ok_t('amq.gen', 0, 0),
        ),
        (
            lambda c: c.queue_declare('q', True, True, True, False, False, TABLE),
            commands.Queue.Declare,
            {
                'queue': 'q',
                'passive': True,
                'durable': True,
                'exclusive': True,
                'auto_delete': False,
                'arguments': TABLE,
            },
            ('q', 0, 0),
        ),
        (
            lambda c: c.queue_bind('q', 'e', 'k', arguments=TABLE),
            commands.Queue.Bind,
            {'queue': 'q', 'exchange': 'e', 'routing_key': 'k', 'arguments': TABLE},
            None,
        ),
        (
            lambda c: c.queue_unbind('q', 'e', 'k', arguments=TABLE),
            commands.Queue.Unbind,
            {'queue': 'q', 'exchange': 'e', 'routing_key': 'k', 'arguments': TABLE},
            None,
        ),
        (lambda c: c.queue_purge('q'), commands.Queue.Purge, {'queue': 'q'}, 0),
        (
            lambda c: c.queue_delete('q', True, True),
            commands.Queue.Delete,
            {'queue': 'q', 'if_unused': True, 'if_empty': True},
            0,
        ),
        (
            lambda c: c.basic_qos(0, 10, True),
            commands.Basic.Qos,
            {'prefetch_size': 0, 'prefetch_count': 10, 'global_': True},
            None,
        ),
        (
            lambda c: c.basic_consume('q', 'tag', True, False, True, arguments=TABLE),
            commands.Basic.Consume,
            {
                'queue': 'q',
                'consumer_tag': 'tag',
                'no_local': True,
                'no_ack': False,
                'exclusive': True,
                'arguments': TABLE,
            },
            'tag',
        ),
        (
            lambda c: c.basic_get('q', True),
            commands.Basic.Get,
            {'queue': 'q', 'no_ack': True},
            None,
        ),
        (lambda c: c.basic_recover(True), commands.Basic.Recover, {'requeue': True}, None),
        (lambda c: c.flow(True), commands.Channel.Flow, {'active': True}, True),
        (lambda c: c.confirm_select(), commands.Confirm.Select, {'nowait': False}, None),
        (lambda c: c.tx_select(), commands.Tx.Select, {}, None),
        (lambda c: c.tx_commit(), commands.Tx.Commit, {}, None),
        (lambda c: c.tx_rollback(), commands.Tx.Rollback, {}, None),
    ],
)
def test_methods_with_a_reply(channel, wire, call, kind, fields, result):
    assert call(channel) == result
    (sent,) = wire.seen(kind)
    for name, value in fields.items():
        assert getattr(sent, name) == value, name


@pytest.mark.parametrize(
    ('call', 'kind'),
    [
        (lambda c: c.exchange_declare('e', 'direct', nowait=True), commands.Exchange.Declare),
        (lambda c: c.exchange_delete('e', nowait=True), commands.Exchange.Delete),
        (lambda c: c.exchange_bind('d', 's', nowait=True), commands.Exchange.Bind),
        (lambda c: c.exchange_unbind('d', 's', nowait=True), commands.Exchange.Unbind),
        (lambda c: c.queue_declare('q', nowait=True), commands.Queue.Declare),
        (lambda c: c.queue_bind('q', 'e', nowait=True), commands.Queue.Bind),
        (lambda c: c.queue_purge('q', nowait=True), commands.Queue.Purge),
        (lambda c: c.queue_delete('q', nowait=True), commands.Queue.Delete),
        (lambda c: c.confirm_select(nowait=True), commands.Confirm.Select),
    ],
)
def test_methods_that_wait_for_no_reply(channel, wire, call, kind):
    assert call(channel) is None
    assert wire.seen(kind)[0].nowait is True


def test_an_unbind_that_nobody_waits_for_takes_its_own_reply(peer, connect):
    """The protocol has no nowait there: the reply comes, and must not be the next unbind's."""
    channel = scripted(peer, connect, mute=[commands.Queue.Unbind])
    wire = peer.wire()
    channel.queue_unbind('q', 'e', 'first', nowait=True)
    second = Background(channel.queue_unbind, 'q', 'e', 'second')
    wire.seen(commands.Queue.Unbind, 2)
    wire.send(1, commands.Queue.UnbindOk())
    until(lambda: len(channel._pending) == 1)
    wire.send(1, commands.Queue.UnbindOk())
    second.result()


@pytest.mark.parametrize(
    ('call', 'kind', 'fields'),
    [
        (
            lambda c: c.basic_ack(7, multiple=True),
            commands.Basic.Ack,
            {'delivery_tag': 7, 'multiple': True},
        ),
        (
            lambda c: c.basic_nack(2**40, True, False),
            commands.Basic.Nack,
            {'delivery_tag': 2**40, 'multiple': True, 'requeue': False},
        ),
        (
            lambda c: c.basic_reject(7, requeue=True),
            commands.Basic.Reject,
            {'delivery_tag': 7, 'requeue': True},
        ),
    ],
)
def test_methods_without_a_reply(channel, wire, call, kind, fields):
    assert call(channel) is None
    (sent,) = wire.seen(kind)
    for name, value in fields.items():
        assert getattr(sent, name) == value


@pytest.mark.filterwarnings('ignore:This command is deprecated')
def test_recover_async(channel, wire):
    channel.basic_recover_async(True)
    assert wire.seen(commands.Basic.RecoverAsync)[0].requeue is True


# -- consuming


def test_a_delivery(channel, wire):
    seen = []
    assert channel.basic_consume('q', 'tag', callback=seen.append) == 'tag'
    wire.deliver(1, 'tag', 7, b'body', exchange='e', routing_key='k', redelivered=True)
    drain(channel.connection)
    (message,) = seen
    assert message.body == b'body'
    assert message.channel is channel
    assert message.delivery_tag == 7
    assert message.delivery_info == {
        'consumer_tag': 'tag',
        'delivery_tag': 7,
        'redelivered': True,
        'exchange': 'e',
        'routing_key': 'k',
    }


@pytest.mark.parametrize(('auto_decode', 'body'), [(True, 'é'), (False, 'é'.encode())])
def test_decoding_bodies(connection, peer, auto_decode, body):
    channel = Channel(connection, auto_decode=auto_decode)
    channel.open()
    wire = peer.wire()
    properties = commands.Basic.Properties(content_encoding='utf-8')
    seen = []
    channel.basic_consume('q', 'tag', callback=seen.append)
    wire.deliver(1, 'tag', body='é'.encode(), properties=properties)
    drain(connection)
    assert seen[0].body == body
    assert channel.auto_decode is auto_decode


def test_a_tag_is_made_up_before_anything_is_sent(channel, wire):
    tags = {channel.basic_consume('q') for _ in range(3)}
    assert len(tags) == 3
    assert {sent.consumer_tag for sent in wire.seen(commands.Basic.Consume, 3)} == tags


def test_a_delivery_before_the_consume_ok(peer, connect):
    def eager(wire, number, asked):
        wire.deliver(number, asked.consumer_tag, 1, b'early')
        wire.send(number, commands.Basic.ConsumeOk(asked.consumer_tag))

    channel = scripted(peer, connect, on={commands.Basic.Consume: eager})
    seen = []
    channel.basic_consume('q', callback=lambda message: seen.append(message.body))
    assert seen == [b'early']


@pytest.mark.parametrize('no_ack', [False, True])
def test_a_consumer_without_a_callback(channel, wire, caplog, no_ack):
    """Its messages are put back with a warning, or dropped."""
    channel.basic_consume('q', 'tag', no_ack=no_ack)
    assert ('tag' in channel.no_ack_consumers) == no_ack
    with caplog.at_level(logging.WARNING, 'amqp'):
        wire.deliver(1, 'tag', 7, exchange='e', routing_key='k')
        drain(channel.connection)
    if no_ack:
        assert not caplog.records
        return
    (sent,) = wire.seen(commands.Basic.Reject)
    assert (sent.delivery_tag, sent.requeue) == (7, True)
    assert caplog.messages == [REJECTED_MESSAGE_WITHOUT_CALLBACK % (7, 'tag', 'e', 'k')]


def test_a_consume_that_fails_leaves_no_callback(peer, connect):
    channel = scripted(
        peer, connect, on={commands.Basic.Consume: lambda w, number, _: w.send(number, CLOSE)}
    )
    with pytest.raises(amqp.NotFound):
        channel.basic_consume('q', 'tag', callback=print, on_cancel=print, no_ack=True)
    assert (channel.callbacks, channel.cancel_callbacks, channel.no_ack_consumers) == (
        {},
        {},
        set(),
    )
    with pytest.raises(amqp.EncodeError):
        channel.basic_consume('q' * 256, 'tag', callback=print)
    assert channel.callbacks == {}


def test_the_end_of_a_consumer(channel, wire):
    channel.basic_consume('q', 'tag', callback=print, on_cancel=print, no_ack=True)
    assert channel.basic_cancel('tag') == 'tag'
    assert (channel.callbacks, channel.cancel_callbacks, channel.no_ack_consumers) == (
        {},
        {},
        set(),
    )
    assert wire.seen(commands.Basic.Cancel)[0].nowait is False


def test_messages_on_their_way_reach_the_callback_still(peer, connect):
    def late(wire, number, asked):
        wire.deliver(number, 'tag', 1)
        wire.send(number, commands.Basic.CancelOk('tag'))

    channel = scripted(peer, connect, on={commands.Basic.Cancel: late})
    seen = []
    channel.basic_consume('q', 'tag', callback=seen.append)
    channel.basic_cancel('tag')
    assert len(seen) == 1


def test_the_end_of_a_consumer_that_nobody_waits_for(channel, wire):
    seen = []
    channel.basic_consume('q', 'tag', callback=seen.append, on_cancel=print)
    assert channel.basic_cancel('tag', nowait=True) is None
    wire.deliver(1, 'tag', 7)
    drain(channel.connection)
    assert wire.seen(commands.Basic.Reject)[0].delivery_tag == 7
    assert seen == []


@pytest.mark.parametrize('no_ack', [True, False])
def test_consumers_that_come_and_go_leave_nothing_behind(channel, no_ack):
    for _ in range(5):
        tag = channel.basic_consume('q', callback=print, on_cancel=print, no_ack=no_ack)
        channel.basic_cancel(tag, nowait=True)
    assert (channel.callbacks, channel.cancel_callbacks) == ({}, {})
    # The last may have messages under way; those before it had theirs.
    assert channel.no_ack_consumers == ({tag} if no_ack else set())
    tag = channel.basic_consume('q', tag, callback=print, no_ack=no_ack)  # the same again
    channel.basic_consume('q', 'other', callback=print)
    assert channel.no_ack_consumers == ({tag} if no_ack else set())
    assert not channel._left_behind


def test_messages_on_their_way_to_an_ended_consumer_without_acks_are_dropped(channel, wire):
    channel.basic_consume('q', 'tag', callback=print, no_ack=True)
    channel.basic_cancel('tag', nowait=True)
    channel.basic_consume('q', 'other', nowait=True)  # has no reply that tells anything
    wire.deliver(1, 'tag', 7)
    drain(channel.connection)
    assert channel.queue_declare('q').queue == 'q'
    assert not [frame for _, frame in wire.received if isinstance(frame, commands.Basic.Reject)]


@pytest.mark.parametrize('nowait', [True, False])
def test_cancelled_by_the_broker(channel, wire, nowait):
    seen = []
    channel.basic_consume('q', 'tag', callback=print, on_cancel=seen.append)
    wire.send(1, commands.Basic.Cancel('tag', nowait))
    drain(channel.connection)
    assert seen == ['tag']
    assert 'tag' not in channel.callbacks
    if not nowait:
        assert wire.seen(commands.Basic.CancelOk)[0].consumer_tag == 'tag'
    assert channel.queue_declare('q').queue == 'q'


def test_cancelled_by_the_broker_without_anybody_listening(channel, wire):
    channel.basic_consume('q', 'tag', callback=print)
    wire.send(1, commands.Basic.Cancel('tag', True))
    with pytest.raises(amqp.ConsumerCancelled, match='tag'):
        drain(channel.connection)
    assert channel.queue_declare('q').queue == 'q'


def test_get(peer, connect):
    def answer(wire, number, asked):
        wire.send_content(number, commands.Basic.GetOk(3, True, 'e', 'k', 5), b'body')

    channel = scripted(peer, connect, on={commands.Basic.Get: answer})
    message = channel.basic_get('q')
    assert message.body == b'body'
    assert message.channel is channel
    assert message.delivery_info == {
        'delivery_tag': 3,
        'redelivered': True,
        'exchange': 'e',
        'routing_key': 'k',
        'message_count': 5,
    }


def test_flow_of_the_broker(channel, wire):
    wire.send(1, commands.Channel.Flow(False))
    drain(channel.connection)
    assert wire.seen(commands.Channel.FlowOk)[0].active is False
    assert channel.active is False
    channel.connection.blocked_timeout = 0.02
    with pytest.raises(amqp.Blocked, match=r'channel\.flow'):
        channel.basic_publish(amqp.Message(b'x'))
    wire.send(1, commands.Channel.Flow(True))
    channel.connection.blocked_timeout = 5
    channel.basic_publish(amqp.Message(b'x'))
    assert wire.messages(1)[0].body == b'x'


# -- publishing


def test_a_message_on_the_wire(channel, wire):
    result = channel.basic_publish(amqp.Message('é', priority=3), 'e', 'k', True, True)
    assert result is None
    (published,) = wire.messages(1)
    assert published.body == 'é'.encode()
    assert (published.method.exchange, published.method.routing_key) == ('e', 'k')
    assert (published.method.mandatory, published.method.immediate) == (True, True)
    assert published.header.properties.priority == 3
    assert published.header.properties.content_encoding == 'utf-8'


@pytest.mark.parametrize(
    ('call', 'text'),
    [
        (lambda c: c.basic_publish(b'x'), 'bytes is not a Message'),
        (lambda c: c.basic_publish(amqp.Message(5)), 'neither bytes nor str'),
        (lambda c: c.basic_publish(amqp.Message(b'x'), 'e' * 256), "argument 'exchange'"),
        (lambda c: c.basic_publish(amqp.Message(b'x', application_headers={'a': object()})), 'a'),
    ],
)
@pytest.mark.parametrize('confirming', [False, True])
def test_what_cannot_be_sent_leaves_the_channel_as_it_was(channel, wire, call, text, confirming):
    if confirming:
        channel.confirm_select()
    sent = channel.connection.bytes_sent
    with pytest.raises(amqp.EncodeError, match=text):
        call(channel)
    assert channel.connection.bytes_sent == sent
    confirmation = channel.basic_publish(amqp.Message(b'next'))
    assert (confirmation.delivery_tag == 1) if confirming else (confirmation is None)
    assert wire.messages(1)[0].body == b'next'


def test_a_publish_behind_another_that_does_not_end(channel):
    held = threading.Event()
    release = threading.Event()

    def hold():
        with channel._send_lock:
            held.set()
            release.wait(10)

    holder = Background(hold)
    assert held.wait(10)
    with pytest.raises(TimeoutError, match="another thread's publish"):
        channel.basic_publish(amqp.Message(b'x'), timeout=0.02)
    release.set()
    holder.result()
    channel.basic_publish(amqp.Message(b'x'), timeout=5)


def test_returned_with_a_handler(channel, wire):
    seen = []
    channel.events['basic_return'].add(lambda *args: seen.append(args))
    wire.send_content(1, commands.Basic.Return(312, 'NO_ROUTE', 'e', 'k'), b'body')
    drain(channel.connection)
    ((error, exchange, routing_key, message),) = seen
    assert isinstance(error, amqp.NoRoute)
    assert (exchange, routing_key, message.body) == ('e', 'k', b'body')
    assert (error.message, error.exchange, error.routing_key) == (message, 'e', 'k')
    assert message.channel is channel


def test_returned_without_one(channel, wire):
    wire.send_content(1, commands.Basic.Return(312, 'NO_ROUTE', 'e', 'k'), b'body')
    with pytest.raises(amqp.NoRoute, match='NO_ROUTE') as caught:
        drain(channel.connection)
    assert caught.value.message.body == b'body'


def test_returned_for_another_reason(channel, wire):
    wire.send_content(1, commands.Basic.Return(313, 'NO_CONSUMERS', 'e', 'k'))
    with pytest.raises(amqp.NoConsumers):
        drain(channel.connection)


def test_a_returned_body_is_decoded(channel, wire):
    seen = []
    channel.events['basic_return'].add(lambda *args: seen.append(args[3].body))
    properties = commands.Basic.Properties(content_encoding='utf-8')
    back = commands.Basic.Return(312, 'NO_ROUTE', 'e', 'k')
    wire.send_content(1, back, b'body', properties=properties)
    drain(channel.connection)
    assert seen == ['body']


# -- confirms


def test_confirms_reach_the_callbacks(channel, wire):
    channel.confirm_select()
    seen = []
    channel.events['basic_ack'].add(lambda *args: seen.append(('ack', *args)))
    channel.events['basic_nack'].add(lambda *args: seen.append(('nack', *args)))
    confirmations = [channel.basic_publish(amqp.Message(b'x')) for _ in range(2)]
    confirmations.append(channel.basic_publish(amqp.Message(b'x')))
    while not all(each.settled() for each in confirmations):
        drain(channel.connection)
    wire.send(1, commands.Basic.Nack(9, True, False))
    until(lambda: len(seen) == 4 or channel.connection.drain_events(timeout=5))
    # The peer's acks and this test's nack come from two threads.
    assert sorted(each[:2] for each in seen) == [('ack', 1), ('ack', 2), ('ack', 3), ('nack', 9)]


def test_a_publish_that_waits_for_its_confirm(channel, wire):
    channel.basic_publish_confirm(amqp.Message(b'x'))
    channel.basic_publish_confirm(amqp.Message(b'x'))
    assert len(wire.seen(commands.Confirm.Select)) == 1
    assert len(wire.messages(2)) == 2


def test_confirm_publish_makes_every_publish_wait(peer, connect):
    peer.serve()
    channel = connect(confirm_publish=True).channel()
    assert channel.basic_publish(amqp.Message(b'x')) is None
    assert peer.wire().seen(commands.Confirm.Select)
    channel.collect()
    assert 'basic_publish' not in channel.__dict__


def confirming(peer, connect, answer, **options):
    """A channel whose peer answers published headers by hand."""
    peer.serve(
        confirms=False,
        on={ContentHeader: lambda wire, number, frame: answer(wire, number)},
    )
    return connect(**options).channel()


def test_a_nack(peer, connect):
    channel = confirming(
        peer, connect, lambda wire, number: wire.send(number, commands.Basic.Nack(1))
    )
    message = amqp.Message(b'')
    with pytest.raises(amqp.MessageNacked, match='refused') as caught:
        channel.basic_publish_confirm(message)
    assert (caught.value.message, caught.value.delivery_tag) == (message, 1)


@pytest.mark.parametrize('handled', [False, True])
def test_a_return_and_then_the_ack(peer, connect, handled):
    def answer(wire, number):
        back = commands.Basic.Return(312, 'NO_ROUTE', '', 'nowhere')
        wire.send_content(number, back)
        wire.send(number, commands.Basic.Ack(1))

    channel = confirming(peer, connect, answer)
    seen = []
    if handled:
        channel.events['basic_return'].add(lambda *args: seen.append(args))
        channel.basic_publish_confirm(amqp.Message(b''), '', 'nowhere', mandatory=True)
        assert len(seen) == 1
    else:
        with pytest.raises(amqp.NoRoute):
            channel.basic_publish_confirm(amqp.Message(b''), '', 'nowhere', mandatory=True)
        with pytest.raises(TimeoutError):
            channel.connection.drain_events(timeout=0)


def test_a_return_of_a_message_that_nobody_waits_for(peer, connect):
    def answer(wire, number):
        wire.send_content(number, commands.Basic.Return(312, 'NO_ROUTE', '', 'nowhere'))
        wire.send(number, commands.Basic.Ack(1))

    channel = confirming(peer, connect, answer)
    channel.confirm_select()
    confirmation = channel.basic_publish(amqp.Message(b''), '', 'nowhere', mandatory=True)
    with pytest.raises(amqp.NoRoute):
        drain(channel.connection, 3)
    assert confirmation.acknowledged


def test_a_confirm_that_does_not_come(peer, connect):
    channel = confirming(peer, connect, lambda wire, number: None, rpc_timeout=0.05)
    with pytest.raises(TimeoutError, match=r'no confirm came within 0\.05 s'):
        channel.basic_publish_confirm(amqp.Message(b''))
    with pytest.raises(TimeoutError, match=r'no confirm came within 0\.02 s'):
        channel.basic_publish_confirm(amqp.Message(b''), confirm_timeout=0.02)
    assert channel.is_open


def test_the_channel_is_closed_before_the_confirm(peer, connect):
    channel = confirming(peer, connect, lambda wire, number: wire.send(number, CLOSE))
    with pytest.raises(amqp.NotFound):
        channel.basic_publish_confirm(amqp.Message(b''))
    with pytest.raises(TimeoutError):
        channel.connection.drain_events(timeout=0)  # it has been told


def test_the_connection_is_lost_before_the_confirm(peer, connect):
    channel = confirming(peer, connect, lambda wire, number: wire.eof())
    with pytest.raises(amqp.RecoverableConnectionError):
        channel.basic_publish_confirm(amqp.Message(b''))


def test_a_lost_channel_is_not_taken_for_a_refusal(channel):
    """Another thread may let go of the channel before the confirm is looked at."""
    channel.confirm_select()
    channel._confirm_mode.begin_awaiting()
    confirmation = channel._basic_publish(amqp.Message(b'x'))
    channel._confirm_mode.end_awaiting()
    channel.connection = None
    with pytest.raises(amqp.RecoverableConnectionError):
        channel._wait_for_confirm(confirmation, 5)


class UserError(Exception):
    pass


@pytest.mark.parametrize('error', [TimeoutError, UserError])
def test_a_callback_that_raises_while_a_confirm_is_awaited(peer, connect, error):
    def answer(wire, number):
        wire.deliver(number, 'tag')

    def callback(message):
        raise error('mine')

    channel = confirming(peer, connect, answer)
    channel.basic_consume('q', 'tag', callback=callback, no_ack=True)
    with pytest.raises(error, match='mine'):
        channel.basic_publish_confirm(amqp.Message(b''))


@pytest.mark.parametrize('method', [commands.Basic.Ack(1), commands.Basic.Nack(1)])
def test_a_confirm_without_confirm_mode(channel, wire, method):
    wire.send(1, method)
    with pytest.raises(amqp.UnexpectedFrame, match='not in confirm mode'):
        drain(channel.connection)


def test_an_exception_right_behind_the_taking_of_the_lock_leaves_it_to_be_had(channel):
    lock, channel._send_lock = channel._send_lock, InterruptedLock(channel._send_lock)
    with pytest.raises(Interrupted):
        channel.basic_publish(amqp.Message(b'x'), timeout=5)
    assert Background(lock.acquire, timeout=5).result()
