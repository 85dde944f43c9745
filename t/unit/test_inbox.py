"""What a delivery finds its callback by, as channels keep it."""

from __future__ import annotations

import pytest
from pamqp import commands

import amqp
from amqp.inbox import Inbox
from amqp.states import CHANNEL_TRANSITIONS, ChannelState, StateMachine
from t.helpers.threads import until


@pytest.fixture
def connection(peer, connect):
    peer.serve()
    return connect()


@pytest.fixture
def channel(connection):
    return connection.channel()


def test_alone():
    state = StateMachine(CHANNEL_TRANSITIONS, ChannelState.NEW)
    inbox = Inbox('channel', 7, state)
    assert (inbox.channel, inbox.channel_id, inbox.state) == ('channel', 7, state)
    assert (inbox.direct, inbox.auto_decode, inbox.callbacks) == (False, False, {})


def test_those_of_a_channel(channel):
    inbox = channel._inbox
    assert inbox.channel is channel
    assert inbox.channel_id == channel.channel_id
    assert inbox.state.state is ChannelState.OPEN
    assert inbox.callbacks is channel.callbacks
    assert inbox.direct
    channel.basic_consume('q', 'tag', callback=print)
    channel.basic_consume('q', 'other', callback=None)
    assert inbox.callbacks == {'tag': print, 'other': None}
    channel.basic_cancel('tag')
    assert inbox.callbacks == {'other': None}


def test_auto_decode_can_be_set_at_any_time(connection):
    channel = connection.channel()
    assert channel.auto_decode
    channel.auto_decode = False
    assert not channel.auto_decode
    assert not channel._inbox.auto_decode
    other = amqp.Channel(connection, 9, auto_decode=False)
    assert not other._inbox.auto_decode
    other.auto_decode = True
    assert other._inbox.auto_decode
    assert not connection.auto_decode


def test_a_channel_that_is_closed_has_none(channel):
    channel.basic_consume('q', 'tag', callback=print)
    inbox = channel._inbox
    channel.close()
    assert inbox.callbacks == {}
    assert inbox.channel is None
    assert inbox.state.state is ChannelState.CLOSED


def test_a_channel_that_the_broker_closed_keeps_none_and_can_have_new_ones(
    peer, connection, channel
):
    channel.basic_consume('q', 'tag', callback=print)
    inbox = channel._inbox
    peer.wire().send(1, commands.Channel.Close(404, 'NOT_FOUND', 0, 0))
    with pytest.raises(amqp.NotFound):
        while True:
            connection.drain_events(timeout=5)
    assert inbox.callbacks == {}
    assert inbox.state.state is ChannelState.REOPENABLE
    channel.basic_consume('q', 'new', callback=print)
    assert channel._inbox is inbox
    assert inbox.callbacks == {'new': print}
    assert inbox.state.state is ChannelState.OPEN


def test_a_lost_connection_leaves_none(connection, channel):
    channel.basic_consume('q', 'tag', callback=print)
    inbox = channel._inbox
    connection.collect()
    until(lambda: inbox.channel is None)
    assert inbox.callbacks == {}


class Dispatching(amqp.Channel):
    def dispatch_method(self, *args):
        return super().dispatch_method(*args)


class Delivering(amqp.Channel):
    def _on_basic_deliver(self, *args):
        return super()._on_basic_deliver(*args)


class Neither(amqp.Channel):
    def basic_ack(self, *args, **kwargs):
        return super().basic_ack(*args, **kwargs)


@pytest.mark.parametrize(
    ('cls', 'direct'), [(Dispatching, False), (Delivering, False), (Neither, True)]
)
def test_whoever_puts_something_in_the_way_is_asked(connection, cls, direct):
    channel = cls(connection)
    channel.open()
    assert channel._inbox.direct is direct
    channel.basic_consume('q', 'tag', callback=print)
    assert channel._inbox.direct is direct


@pytest.mark.parametrize('name', ['dispatch_method', '_on_basic_deliver'])
def test_an_attribute_in_the_way_counts_from_the_next_consumer_on(channel, name):
    method = getattr(channel, name)
    setattr(channel, name, lambda *args: method(*args))
    channel.basic_consume('q', 'tag', callback=print)
    assert not channel._inbox.direct
