"""Confirms of many messages at once: windows, waits for all, and which answer is about which."""

from __future__ import annotations

import threading

import pytest
from pamqp import commands

import amqp
from amqp import Message

from .support import LOST, SOON, Background, drain_until, ends_within

ACK, NACK = commands.Basic.Ack, commands.Basic.Nack


@pytest.fixture
def confirming(peer, connect):
    """A connection with a channel in confirm mode, and the wire, which confirms nothing."""
    peer.serve(confirms=False)
    connection = connect()
    channel = connection.channel()
    channel.confirm_select()
    return connection, channel, peer.wire()


def publish(channel, *bodies, **options):
    return [channel.basic_publish(Message(body), routing_key='q', **options) for body in bodies]


def send_back(wire, body, key='q', channel=1):
    wire.send_content(channel, commands.Basic.Return(312, 'NO_ROUTE', '', key), body)


def noticed_waits(connection):
    """A semaphore that is released whenever a thread begins to wait."""
    begun = threading.Semaphore(0)
    wait_until = connection._wait_until

    def noticed(ready, deadline):
        begun.release()
        wait_until(ready, deadline)

    connection._wait_until = noticed
    return begun


# -- waiting for all


def test_the_wait_ends_with_the_last_confirm(confirming):
    _, channel, wire = confirming
    publish(channel, b'1', b'2', b'3')
    call = Background(channel.wait_for_confirms)
    wire.send(1, ACK(3))
    assert not call.done
    wire.send(1, ACK(2, multiple=True))
    assert call.result() is None
    assert channel.wait_for_confirms() is None  # nothing is outstanding


def test_the_wait_is_for_what_was_published_before(confirming):
    connection, channel, wire = confirming
    publish(channel, b'1')
    waits = noticed_waits(connection)
    call = Background(channel.wait_for_confirms)
    assert waits.acquire(timeout=SOON)
    publish(channel, b'2')
    wire.send(1, ACK(1))
    assert call.result() is None


def test_the_error_tells_exactly_which_failed(confirming):
    _, channel, wire = confirming
    publish(channel, b'1', b'2')
    publish(channel, b'3', b'4', mandatory=True)
    publish(channel, b'5')
    send_back(wire, b'3')
    wire.send(1, NACK(2), ACK(5, multiple=True))
    with pytest.raises(amqp.ConfirmsFailed, match=r'2 \(MessageNacked\), 3 \(NoRoute\)') as caught:
        channel.wait_for_confirms()
    assert isinstance(caught.value, amqp.MessageNacked)
    refused, unroutable = caught.value.failures
    assert (type(refused), refused.delivery_tag) == (amqp.MessageNacked, 2)
    assert refused.message is None  # nobody has kept it
    assert (type(unroutable), unroutable.delivery_tag) == (amqp.NoRoute, 3)
    assert unroutable.message.body == b'3'  # as it came back
    assert channel.wait_for_confirms() is None  # each is told of once


def test_failures_from_before_the_wait_are_told(confirming):
    connection, channel, wire = confirming
    (confirmation,) = publish(channel, b'1')
    wire.send(1, NACK(1))
    drain_until(connection, confirmation.settled)
    with pytest.raises(amqp.ConfirmsFailed):
        channel.wait_for_confirms()


def test_failures_that_drain_events_has_told_are_not_told_again(confirming):
    connection, channel, wire = confirming
    publish(channel, b'1', mandatory=True)
    send_back(wire, b'1')
    wire.send(1, ACK(1))
    with pytest.raises(amqp.NoRoute):
        drain_until(connection, lambda: False)
    assert channel.wait_for_confirms() is None


def test_failures_that_the_wait_has_told_are_not_told_again_by_drain_events(confirming):
    connection, channel, wire = confirming
    publish(channel, b'1', mandatory=True)
    send_back(wire, b'1')
    wire.send(1, ACK(1))
    with pytest.raises(amqp.ConfirmsFailed):
        channel.wait_for_confirms()
    with pytest.raises(TimeoutError):
        while True:
            connection.drain_events(timeout=0)


def test_what_another_call_tells_is_waited_for_and_not_told_again(confirming):
    connection, channel, wire = confirming
    publisher = Background(channel.basic_publish_confirm, Message('mine'))
    wire.messages(1)
    waits = noticed_waits(connection)
    call = Background(channel.wait_for_confirms)
    assert waits.acquire(timeout=SOON)
    wire.send(1, NACK(1))
    assert isinstance(publisher.error(), amqp.MessageNacked)
    assert call.result() is None


def test_several_who_wait_are_all_told(confirming):
    connection, channel, wire = confirming
    publish(channel, b'1')
    waits = noticed_waits(connection)
    calls = [Background(channel.wait_for_confirms) for _ in range(4)]
    assert all(waits.acquire(timeout=SOON) for _ in calls)
    wire.send(1, NACK(1))
    assert all(isinstance(call.error(), amqp.ConfirmsFailed) for call in calls)


def test_the_wait_that_is_too_long_tells_how_many_are_outstanding(confirming):
    _, channel, wire = confirming
    publish(channel, b'1', b'2', b'3')
    wire.send(1, NACK(1))
    with ends_within(SOON), pytest.raises(TimeoutError, match=r'2 of the messages .* 0\.2 s'):
        channel.wait_for_confirms(timeout=0.2)
    wire.send(1, ACK(3, multiple=True))
    with pytest.raises(amqp.ConfirmsFailed) as caught:  # what failed before isn't forgotten
        channel.wait_for_confirms()
    assert [each.delivery_tag for each in caught.value.failures] == [1]


def test_by_default_it_lasts_as_long_as_a_call(peer, connect):
    peer.serve(confirms=False)
    channel = connect(rpc_timeout=0.1).channel()
    channel.confirm_select()
    publish(channel, b'1')
    with pytest.raises(TimeoutError, match=r'0\.1 s'):
        channel.wait_for_confirms()


@pytest.mark.parametrize('mode', [False, True])
def test_outside_of_confirm_mode_there_is_nothing_to_wait_for(peer, connect, mode):
    peer.serve()
    channel = connect().channel()
    if mode:
        channel.confirm_select()
        assert channel.wait_for_confirms() is None
    else:
        with pytest.raises(amqp.RecoverableChannelError, match='not in confirm mode'):
            channel.wait_for_confirms()


@pytest.mark.parametrize('told', [False, True])
def test_the_error_of_a_channel_that_is_lost_before_the_confirms(confirming, told):
    """Also where drain_events has told of the channel: what became of the messages is open."""
    connection, channel, wire = confirming
    publish(channel, b'1', b'2')
    waits = noticed_waits(connection)
    call = None if told else Background(channel.wait_for_confirms)
    wire.messages(2)
    assert told or waits.acquire(timeout=SOON)
    wire.send(1, commands.Channel.Close(404, 'NOT_FOUND', 60, 40))
    if told:
        with pytest.raises(amqp.NotFound):
            drain_until(connection, lambda: False)
        with pytest.raises(amqp.NotFound):
            channel.wait_for_confirms()
    else:
        assert isinstance(call.error(), amqp.NotFound)
    with pytest.raises(amqp.RecoverableChannelError, match='not in confirm mode'):
        channel.wait_for_confirms()  # told once
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0)


@pytest.mark.parametrize('end', ['eof', 'reset', 'close'])
def test_a_connection_that_is_lost_ends_the_wait(confirming, end):
    connection, channel, wire = confirming
    publish(channel, b'1')
    call = Background(channel.wait_for_confirms, timeout=60)
    wire.messages(1)
    if end == 'close':
        connection.close()
    else:
        getattr(wire, end)()
    assert isinstance(call.error(), LOST)
    with pytest.raises(LOST):
        channel.wait_for_confirms()


def test_failures_that_nobody_asks_for_are_bounded(confirming):
    connection, channel, wire = confirming
    count = 1_500
    last = publish(channel, *[b'x'] * count)[-1]
    wire.send(1, NACK(count, multiple=True))
    drain_until(connection, last.settled)
    with pytest.raises(amqp.ConfirmsFailed, match=r'^1500 messages') as caught:
        channel.wait_for_confirms()
    assert [each.delivery_tag for each in caught.value.failures] == list(range(1, 1_001))
    assert channel.wait_for_confirms() is None


# -- windows


def test_a_window_bounds_what_is_in_flight(confirming):
    _, channel, wire = confirming
    channel.confirm_select(window=2)
    publish(channel, b'1', b'2')
    third = Background(publish, channel, b'3')
    wire.messages(2)
    assert not third.done
    wire.send(1, ACK(1))
    assert third.result()[0].delivery_tag == 3
    assert [message.body for message in wire.messages(3)] == [b'1', b'2', b'3']


def test_without_room_nothing_is_sent(peer, connect):
    peer.serve(confirms=False)
    connection = connect(rpc_timeout=0.1)
    channel = connection.channel()
    channel.confirm_select(window=1)
    publish(channel, b'1')
    with ends_within(SOON), pytest.raises(TimeoutError, match='1 messages are in flight'):
        publish(channel, b'2')
    connection.rpc_timeout = 60
    for limit in ({'confirm_timeout': 0.1}, {'timeout': 0.1}):
        with ends_within(SOON), pytest.raises(TimeoutError, match='1 messages are in flight'):
            publish(channel, b'3', **limit)
    with ends_within(SOON), pytest.raises(TimeoutError, match='1 messages are in flight'):
        channel.basic_publish_confirm(Message('4'), confirm_timeout=0.1)
    peer.wire().send(1, ACK(1))
    assert publish(channel, b'5')[0].delivery_tag == 2
    assert [message.body for message in peer.wire().messages(2)] == [b'1', b'5']


def test_a_window_for_many_threads(confirming):
    """Never more than the window in flight, by the peer's count, whoever publishes."""
    _, channel, wire = confirming
    channel.confirm_select(window=3)
    calls = [Background(publish, channel, *[b'x'] * 10) for _ in range(4)]
    for confirmed in range(0, 40, 2):
        wire.messages(min(confirmed + 3, 40))
        assert len(wire.published) <= confirmed + 3
        wire.send(1, ACK(confirmed + 2, multiple=True))
    tags = [each.delivery_tag for call in calls for each in call.result()]
    assert sorted(tags) == list(range(1, 41))


def test_in_a_window_messages_are_known(confirming):
    _, channel, wire = confirming
    channel.confirm_select(window=10)
    refused, unroutable = Message('1'), Message('2')
    channel.basic_publish(refused, routing_key='q')
    channel.basic_publish(unroutable, routing_key='q', mandatory=True)
    send_back(wire, b'2')
    wire.send(1, NACK(1), ACK(2))
    with pytest.raises(amqp.ConfirmsFailed) as caught:
        channel.wait_for_confirms()
    assert [each.message for each in caught.value.failures] == [refused, unroutable]


def test_waiting_for_room_callbacks_run(confirming):
    _, channel, wire = confirming
    channel.confirm_select(window=1)
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=got.append)
    publish(channel, b'1')
    call = Background(publish, channel, b'2')
    wire.deliver(1, 'tag')
    wire.send(1, ACK(1))
    call.result()
    assert len(got) == 1


def test_a_channel_that_is_lost_ends_the_wait_for_room(confirming):
    _, channel, wire = confirming
    channel.confirm_select(window=1)
    publish(channel, b'1')
    call = Background(publish, channel, b'2')
    wire.messages(1)
    wire.send(1, commands.Channel.Close(404, 'NOT_FOUND', 60, 40))
    assert isinstance(call.error(), amqp.NotFound)
    assert len(wire.published) == 1


def test_the_window_stays_until_another_is_given(peer, connect):
    peer.serve(confirms=False)
    channel = connect(rpc_timeout=0.05).channel()
    channel.confirm_select(window=1)
    channel.confirm_select()
    publish(channel, b'1')
    with pytest.raises(TimeoutError):
        publish(channel, b'2')
    channel.confirm_select(window=2)
    publish(channel, b'2')
    with pytest.raises(TimeoutError):
        publish(channel, b'3')


@pytest.mark.parametrize('window', [0, -1, 1.5, '3', True])
def test_a_window_has_to_be_a_number_of_messages(peer, connect, window):
    peer.serve()
    channel = connect().channel()
    with pytest.raises(ValueError, match='window'):
        channel.confirm_select(window=window)
    assert not [frame for _, frame in peer.wire().received if 'Confirm' in type(frame).__name__]
    assert channel.basic_publish(Message('x')) is None  # not in confirm mode
