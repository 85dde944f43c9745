"""Publishing on a channel, over real bytes: messages out, returns, confirms."""

from __future__ import annotations

import threading

import pytest
from pamqp import commands
from pamqp.header import ContentHeader

import amqp
from t.helpers.threads import Background, Interrupted, InterruptedLock, until

from .support import CLOSE, drain

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


def test_a_confirm_that_was_put_aside_until_the_channel_was_lost(channel):
    channel.confirm_select()
    channel.connection.collect()
    channel._on_basic_ack(1, False)
    assert not channel.is_open
