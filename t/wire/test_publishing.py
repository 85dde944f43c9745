"""What errors of publishing carry."""

from __future__ import annotations

import pytest
from pamqp import commands

import amqp
from amqp import Message

from .support import SOON, Background, drain_until, ends_within, readable

REASON = 'low on disk'


def test_blocked_carries_the_brokers_reason(peer, connect):
    peer.serve()
    connection = connect(blocked_timeout=0.1)
    channel = connection.channel()
    peer.wire().send(0, commands.Connection.Blocked(REASON))
    readable(connection)
    with ends_within(SOON), pytest.raises(amqp.Blocked, match=f'{REASON}.*0.1 s') as caught:
        channel.basic_publish(Message('x'), routing_key='q')
    assert caught.value.reason == REASON
    assert not peer.wire().published


def test_blocked_has_no_reason_where_the_broker_gives_none(peer, connect):
    peer.serve()
    connection = connect(blocked_timeout=0.1)
    channel = connection.channel()
    peer.wire().send(1, commands.Channel.Flow(False))
    readable(connection)
    with pytest.raises(amqp.Blocked, match=r'channel\.flow') as caught:
        channel.basic_publish(Message('x'), routing_key='q')
    assert caught.value.reason is None


def test_errors_carry_the_very_message_that_was_published(peer, connect):
    peer.serve(confirms=False)
    channel = connect().channel()
    wire = peer.wire()
    unroutable, refused = Message('lost', message_id='1'), Message('refused')
    call = Background(channel.basic_publish_confirm, unroutable, 'e', 'key', mandatory=True)
    wire.messages(1)
    wire.send_content(1, commands.Basic.Return(312, 'NO_ROUTE', 'e', 'key'), b'lost')
    wire.send(1, commands.Basic.Ack(1))
    error = call.error()
    assert isinstance(error, amqp.NoRoute)
    assert error.message is unroutable
    call = Background(channel.basic_publish_confirm, refused)
    wire.messages(2)
    wire.send(1, commands.Basic.Nack(2))
    error = call.error()
    assert isinstance(error, amqp.MessageNacked)
    assert (error.message, error.delivery_tag) == (refused, 2)


def test_where_nobody_waits_the_error_carries_the_returned_copy(peer, connect):
    peer.serve(confirms=False)
    connection = connect()
    channel = connection.channel()
    wire = peer.wire()
    channel.confirm_select()
    published = Message('lost', content_type='text/plain')
    confirmation = channel.basic_publish(published, 'e', 'key', mandatory=True)
    wire.messages(1)
    properties = commands.Basic.Properties(content_type='text/plain', content_encoding='utf-8')
    back = commands.Basic.Return(312, 'NO_ROUTE', 'e', 'key')
    wire.send_content(1, back, b'lost', properties=properties)
    wire.send(1, commands.Basic.Ack(1))
    with pytest.raises(amqp.NoRoute) as caught:
        drain_until(connection, lambda: False)
    assert confirmation.settled()
    assert caught.value.message is confirmation.returned.message
    assert caught.value.message.body == 'lost'
    assert caught.value.message.content_type == 'text/plain'
