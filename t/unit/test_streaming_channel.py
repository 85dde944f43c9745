"""Consuming until there is no consumer left; see test_message_stream for loops over messages."""

from __future__ import annotations

import pytest
from pamqp import commands

import amqp
from t.helpers.threads import Background, until

from .support import CLOSE, scripted


def waits(connection):
    return bool(connection.transport._waiting)


def test_the_tags_of_consumers(channel):
    assert channel.consumer_tags == []
    channel.basic_consume('q', 'a', callback=print)
    channel.basic_consume('q', 'b')
    stream = channel.consume('q')
    assert channel.consumer_tags == ['a', 'b', stream.consumer_tag]
    channel.basic_cancel('a')
    channel.basic_cancel('b', nowait=True)
    stream.cancel()
    assert channel.consumer_tags == []


def test_without_a_consumer_there_is_nothing_to_wait_for(channel):
    channel.start_consuming()
    channel.stop_consuming()


def test_until_a_callback_stops_it(channel, wire):
    seen = []

    def callback(message):
        seen.append(message.body)
        if message.body == b'last':
            channel.stop_consuming()

    channel.basic_consume('q', 'a', callback=callback, no_ack=True)
    channel.basic_consume('q', 'b', callback=callback, no_ack=True)
    for body in (b'first', b'last'):
        wire.deliver(1, 'a', body=body)
    channel.start_consuming()
    assert seen == [b'first', b'last']
    assert {each.consumer_tag for each in wire.seen(commands.Basic.Cancel, 2)} == {'a', 'b'}
    assert channel.consumer_tags == []


def test_one_of_two_is_stopped(channel, wire):
    def callback(message):
        channel.stop_consuming(message.delivery_info['consumer_tag'])
        channel.stop_consuming('unknown')

    channel.basic_consume('q', 'a', callback=callback, no_ack=True)
    channel.basic_consume('q', 'b', callback=callback, no_ack=True)
    wire.deliver(1, 'a')
    channel.connection.drain_events(timeout=5)
    assert channel.consumer_tags == ['b']
    wire.deliver(1, 'b')
    channel.start_consuming()
    assert channel.consumer_tags == []


def test_another_thread_stops_it(channel):
    channel.basic_consume('q', 'a', callback=print)
    consuming = Background(channel.start_consuming)
    until(lambda: waits(channel.connection))
    channel.stop_consuming()
    consuming.result()


def test_a_timer_stops_it(connection, channel):
    channel.basic_consume('q', 'a', callback=print)
    connection.call_later(0.01, channel.stop_consuming)
    channel.start_consuming()
    assert channel.consumer_tags == []


def test_loops_are_stopped_too(channel, wire):
    stream = channel.consume('q')
    wire.deliver(1, stream.consumer_tag, 1)
    wire.deliver(1, stream.consumer_tag, 2)
    seen = []
    for message in stream:
        seen.append(message.delivery_tag)
        channel.stop_consuming()
    assert seen == [1]
    assert wire.seen(commands.Basic.Reject)[0].delivery_tag == 2


def test_the_broker_cancels_the_last(channel, wire):
    cancelled = []
    channel.basic_consume('q', 'a', callback=print, on_cancel=cancelled.append)
    wire.send(1, commands.Basic.Cancel('a', True))
    channel.start_consuming()
    assert channel.consumer_tags == []


def test_the_broker_cancels_one_and_nobody_listens(channel, wire):
    channel.basic_consume('q', 'a', callback=print)
    wire.send(1, commands.Basic.Cancel('a', True))
    with pytest.raises(amqp.ConsumerCancelled):
        channel.start_consuming()
        channel.connection.drain_events(timeout=0)


def test_the_broker_closes_the_channel(channel, wire):
    channel.basic_consume('q', 'a', callback=print)
    wire.send(1, CLOSE)
    with pytest.raises(amqp.NotFound):
        channel.start_consuming()
    channel.start_consuming()  # there is no consumer any more
    assert channel.queue_declare('q').queue == 'q'


def test_another_thread_reads_that(connection, channel, wire):
    channel.basic_consume('q', 'a', callback=print)
    reading = Background(connection.channel().wait, (50, 11))
    until(lambda: waits(connection))
    consuming = Background(channel.start_consuming)
    until(lambda: connection._reader._role._waiting)
    wire.send(1, CLOSE)
    assert isinstance(consuming.error(), amqp.NotFound)
    connection.collect()
    assert isinstance(reading.error(), amqp.RecoverableConnectionError)


def test_the_connection_is_lost(peer, connect):
    channel = scripted(peer, connect)
    channel.basic_consume('q', 'a', callback=print)
    peer.wire().eof()
    with pytest.raises(amqp.RecoverableConnectionError):
        channel.start_consuming()
    with pytest.raises(amqp.RecoverableConnectionError):
        channel.start_consuming()


@pytest.mark.parametrize('end', ['close', 'collect'])
def test_the_connection_is_closed_by_another_thread(connection, channel, end):
    channel.basic_consume('q', 'a', callback=print)
    consuming = Background(channel.start_consuming)
    until(lambda: waits(connection))
    getattr(connection, end)()
    assert isinstance(consuming.error(), amqp.RecoverableConnectionError)


def test_the_channel_is_closed_by_another_thread(connection, channel):
    channel.basic_consume('q', 'a', callback=print)
    consuming = Background(channel.start_consuming)
    until(lambda: waits(connection))
    channel.close()
    consuming.result()


def test_what_a_callback_raises_comes_out(channel, wire):
    def callback(message):
        raise TimeoutError('mine')

    channel.basic_consume('q', 'a', callback=callback, no_ack=True)
    wire.deliver(1, 'a')
    with pytest.raises(TimeoutError, match='mine'):
        channel.start_consuming()
    assert channel.consumer_tags == ['a']


def test_acknowledgements_take_no_step_more_where_nobody_asks(channel):
    channel.basic_ack(1)
    assert channel._outbox.settles
    channel.consume('q', no_ack=True)
    assert channel._outbox.settles
    channel.consume('q')
    assert not channel._outbox.settles
    sent = channel.connection.bytes_sent
    channel.basic_ack(1)
    channel.basic_reject(1, requeue=True)
    assert channel.connection.bytes_sent == sent + 2 * 21
