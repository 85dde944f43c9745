"""Publisher confirms: each publish gets its own, and no wait for one is endless."""

from __future__ import annotations

import socket
import threading

import pytest
from pamqp import commands

import amqp
from amqp import Message
from t.helpers.peer import content, marshal

from .support import LOST, SOON, Background, drain_until, ends_within


@pytest.fixture
def confirming(peer, connect):
    """A channel with confirm_publish, and the wire, which confirms nothing by itself."""
    peer.serve(confirms=False)
    connection = connect(confirm_publish=True)
    channel = connection.channel()
    channel.confirm_select()
    return connection, channel, peer.wire()


def returned(body=b'lost', code=312):
    method = commands.Basic.Return(code, 'NO_ROUTE', 'e', 'key')
    return b''.join(content(1, method, body))


def test_publish_returns_with_its_ack(confirming):
    _, channel, wire = confirming
    call = Background(channel.basic_publish, Message('x'), routing_key='q')
    wire.messages(1)
    assert not call.done
    wire.send(1, commands.Basic.Ack(1))
    call.result()


def test_confirm_mode_is_entered_once(peer, connect):
    peer.serve()
    channel = connect(confirm_publish=True).channel()
    for _ in range(3):
        channel.basic_publish(Message('x'), routing_key='q')
    assert len(peer.wire().seen(commands.Confirm.Select)) == 1
    assert len(peer.wire().messages(3)) == 3


def test_entering_confirm_mode_again_keeps_the_numbers(peer, connect):
    """As two threads do that find it off at the same moment; the broker goes on counting."""
    peer.serve()
    channel = connect(rpc_timeout=SOON).channel()
    for _ in range(3):
        channel.confirm_select()
        channel.basic_publish_confirm(Message('x'), routing_key='q')
    assert len(peer.wire().seen(commands.Confirm.Select)) == 3


def test_without_confirm_publish_nothing_waits(peer, connect):
    peer.serve(confirms=False)
    connection = connect()
    channel = connection.channel()
    acked = []
    channel.confirm_select()
    channel.events['basic_ack'].add(lambda tag, multiple: acked.append((tag, multiple)))
    for _ in range(3):
        channel.basic_publish(Message('x'), routing_key='q')
    peer.wire().messages(3)
    peer.wire().send(1, commands.Basic.Ack(2, multiple=True), commands.Basic.Ack(3))
    drain_until(connection, lambda: len(acked) == 2)
    assert acked == [(2, True), (3, False)]


def test_publishes_of_many_threads_are_told_apart(confirming):
    _, channel, wire = confirming
    calls = {}
    for number in range(8):
        call = Background(channel.basic_publish, Message(b'%d' % number))
        wire.messages(number + 1)
        calls[number + 1] = call
    wire.send(1, commands.Basic.Ack(3))
    calls[3].result()
    wire.send(1, commands.Basic.Nack(2, multiple=True, requeue=False))
    for tag in (1, 2):
        error = calls[tag].error()
        assert isinstance(error, amqp.exceptions.MessageNacked)
        assert error.delivery_tag == tag
    assert not calls[4].done
    wire.send(1, commands.Basic.Ack(0, multiple=True))
    for tag in range(4, 9):
        calls[tag].result()


def test_nack_carries_the_message(confirming):
    _, channel, wire = confirming
    message = Message('refused')
    call = Background(channel.basic_publish, message)
    wire.messages(1)
    wire.send(1, commands.Basic.Nack(1, requeue=False))
    error = call.error()
    assert isinstance(error, amqp.exceptions.MessageNacked)
    assert error.message is message
    assert error.delivery_tag == 1


def test_late_ack_does_not_confirm_the_next(confirming):
    _, channel, wire = confirming
    with pytest.raises(socket.timeout):
        channel.basic_publish(Message('slow'), confirm_timeout=0.1)
    call = Background(channel.basic_publish, Message('next'))
    wire.messages(2)
    late = threading.Event()
    channel.events['basic_ack'].add(lambda tag, multiple: late.set())
    wire.send(1, commands.Basic.Ack(1))
    assert late.wait(SOON)
    assert not call.done
    wire.send(1, commands.Basic.Nack(2, requeue=False))
    assert isinstance(call.error(), amqp.exceptions.MessageNacked)


def test_unknown_and_repeated_tags_confirm_nothing(confirming):
    connection, channel, wire = confirming
    call = Background(channel.basic_publish, Message('x'))
    wire.messages(1)
    wire.send(1, commands.Basic.Ack(1), commands.Basic.Ack(1), commands.Basic.Ack(99))
    call.result()
    call = Background(channel.basic_publish, Message('y'))
    wire.messages(2)
    wire.send(1, commands.Basic.Nack(2, requeue=False))
    assert isinstance(call.error(), amqp.exceptions.MessageNacked)
    assert connection.connected


def test_confirm_timeout_is_a_total(confirming):
    connection, channel, wire = confirming
    stop = threading.Event()

    def trickle():
        while not stop.wait(0.05):
            wire.heartbeat()

    background = Background(trickle)
    try:
        with ends_within(3), pytest.raises(socket.timeout):
            channel.basic_publish(Message('x'), confirm_timeout=0.3)
    finally:
        stop.set()
        background.result()
    assert connection.connected


def test_channel_close_ends_the_wait_at_once(confirming):
    connection, channel, wire = confirming
    call = Background(channel.basic_publish, Message('x'), exchange='missing', confirm_timeout=60)
    wire.messages(1)
    wire.send(1, commands.Channel.Close(404, "NOT_FOUND - no exchange 'missing'", 60, 40))
    error = call.error()
    assert isinstance(error, amqp.NotFound)
    assert "no exchange 'missing'" in str(error)
    wire.seen(commands.Channel.CloseOk)
    assert connection.connected


@pytest.mark.parametrize('end', ['eof', 'reset', 'connection close'])
def test_loss_of_the_connection_ends_the_wait_at_once(confirming, end):
    connection, channel, wire = confirming
    call = Background(channel.basic_publish, Message('x'), confirm_timeout=60)
    wire.messages(1)
    if end == 'connection close':
        wire.send(0, commands.Connection.Close(320, 'CONNECTION_FORCED', 0, 0))
    else:
        getattr(wire, end)()
    assert isinstance(call.error(), LOST)
    assert not connection.connected


def test_several_waits_end_together(confirming):
    _, channel, wire = confirming
    calls = [Background(channel.basic_publish, Message('x'), confirm_timeout=60) for _ in range(8)]
    wire.messages(8)
    wire.eof()
    assert all(isinstance(call.error(), LOST) for call in calls)


def test_each_that_ends_raises_an_error_of_its_own(confirming):
    _, channel, wire = confirming
    calls = [Background(channel.basic_publish, Message('x'), confirm_timeout=60) for _ in range(4)]
    wire.messages(4)
    wire.send(1, commands.Channel.Close(404, 'NOT_FOUND', 60, 40))
    errors = [call.error() for call in calls]
    assert {type(error) for error in errors} == {amqp.NotFound}
    assert len({id(error) for error in errors}) == 4


def test_return_without_a_handler_is_raised_by_that_publish(confirming):
    connection, channel, wire = confirming
    message = Message(b'lost')
    call = Background(channel.basic_publish, message, 'e', 'key', mandatory=True)
    wire.messages(1)
    wire.send_raw(returned(), marshal(1, commands.Basic.Ack(1)))
    error = call.error()
    assert isinstance(error, amqp.NoRoute)
    assert isinstance(error, amqp.ChannelError)
    assert error.reply_code == 312
    assert error.message is message
    assert (error.exchange, error.routing_key) == ('e', 'key')
    call = Background(channel.basic_publish, Message('next'), 'e', 'key', mandatory=True)
    wire.messages(2)
    wire.send(1, commands.Basic.Ack(2))
    call.result()
    assert connection.connected


def test_return_with_a_handler(confirming):
    _, channel, wire = confirming
    calls = []
    channel.events['basic_return'].add(lambda *args: calls.append(args))
    call = Background(channel.basic_publish, Message('lost'), 'e', 'key', mandatory=True)
    wire.messages(1)
    wire.send_raw(returned(), marshal(1, commands.Basic.Ack(1)))
    call.result()
    [(exc, exchange, routing_key, message)] = calls
    assert isinstance(exc, amqp.NoRoute)
    assert (exchange, routing_key, message.body) == ('e', 'key', b'lost')


def test_return_belongs_to_the_next_confirm_only(confirming):
    """Two publishes under way: the return stands before the confirm of its own message."""
    _, channel, wire = confirming
    first = Background(channel.basic_publish, Message('kept'))
    wire.messages(1)
    second = Background(channel.basic_publish, Message('lost'), mandatory=True)
    wire.messages(2)
    wire.send_raw(returned(), marshal(1, commands.Basic.Ack(2)))
    wire.send(1, commands.Basic.Ack(1))
    first.result()
    assert isinstance(second.error(), amqp.NoRoute)


def test_return_in_a_channel_without_confirms_is_raised_by_drain(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    channel.basic_publish(Message('lost'), 'e', 'key', mandatory=True)
    peer.wire().messages(1)
    peer.wire().send_raw(returned())
    with pytest.raises(amqp.NoRoute) as caught:
        connection.drain_events(timeout=SOON)
    assert caught.value.message.body == b'lost'
    assert channel.queue_purge('q') == 0


def test_numbers_start_anew_on_a_reopened_channel(confirming):
    _, channel, wire = confirming
    call = Background(channel.basic_publish, Message('x'))
    wire.messages(1)
    wire.send(1, commands.Channel.Close(404, 'NOT_FOUND', 60, 40))
    assert isinstance(call.error(), amqp.NotFound)
    call = Background(channel.basic_publish, Message('y'))
    wire.messages(2)
    wire.send(wire.published[1].channel, commands.Basic.Ack(1))
    call.result()


def test_timeout_before_anything_is_sent_takes_no_number(confirming):
    """A message that was never written has no delivery tag: those behind it keep in step."""
    _, channel, wire = confirming
    with pytest.raises(amqp.EncodeError):
        channel.basic_publish(Message('x'), routing_key='k' * 256)
    call = Background(channel.basic_publish, Message('y'))
    wire.messages(1)
    wire.send(1, commands.Basic.Ack(1))
    call.result()


def test_callbacks_run_while_a_confirm_is_awaited(confirming):
    """A single thread that publishes and consumes: deliveries that come first aren't lost."""
    _, channel, wire = confirming
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg.body))
    call = Background(channel.basic_publish, Message('x'))
    wire.messages(1)
    wire.deliver(1, body=b'before')
    wire.send(1, commands.Basic.Ack(1))
    call.result()
    assert got == [b'before']
