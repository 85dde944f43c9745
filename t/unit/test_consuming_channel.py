"""What comes on a channel, over real bytes: consumers, messages fetched, and how they end."""

from __future__ import annotations

import logging

import pytest
from pamqp import commands

import amqp
from amqp.channel import Channel
from amqp.consuming_channel import REJECTED_MESSAGE_WITHOUT_CALLBACK

from .support import CLOSE, drain, scripted


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


@pytest.mark.parametrize('again', ['tag', b'tag'])
def test_a_tag_in_use_is_refused(channel, wire, again):
    """RabbitMQ would end the whole connection."""
    seen = []
    channel.basic_consume('q', 'tag', callback=lambda message: seen.append(message.body))
    with pytest.raises(amqp.EncodeError, match="'consumer_tag': 'tag' is in use on this channel"):
        channel.basic_consume('other', again, callback=print, no_ack=True, on_cancel=print)
    wire.deliver(1, 'tag', 1, b'to the first')
    drain(channel.connection)
    assert seen == [b'to the first']
    assert channel.cancel_callbacks == {}
    assert channel.no_ack_consumers == set()
    channel.connection.channel().basic_consume('q', 'tag')  # it is free on another channel
    channel.basic_cancel('tag')
    channel.basic_consume('other', 'tag')
    sent = wire.seen(commands.Basic.Consume, 3)
    assert [each.queue for each in sent] == ['q', 'q', 'other']


@pytest.mark.parametrize(
    'end', [lambda channel: channel.basic_cancel('tag', nowait=True), lambda channel: None]
)
def test_a_tag_is_free_when_its_consumer_is_gone(channel, wire, end):
    channel.basic_consume('q', 'tag', on_cancel=print)
    end(channel)
    if channel.consumer_tags:
        wire.send(1, CLOSE)
        with pytest.raises(amqp.NotFound):
            drain(channel.connection)
    assert channel.basic_consume('q', 'tag') == 'tag'
    assert channel.consumer_tags == ['tag']


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
