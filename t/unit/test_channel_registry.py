"""The registry of channels: numbers handed out, put to rest, taken back; by many threads."""

from __future__ import annotations

import pytest

import amqp
from amqp.channel_registry import ChannelRegistry
from amqp.inbox import Inbox
from amqp.outbox import Outbox
from amqp.states import StateMachine
from t.helpers.threads import Background


class Channel:
    def __init__(self, registry, channel_id):
        self.channel_id = channel_id
        self._inbox = Inbox(self, channel_id, None)
        self._outbox = Outbox(channel_id, StateMachine({}, 'open'))
        registry.channels[channel_id] = self


@pytest.fixture
def registry():
    return ChannelRegistry(3)


def test_numbers_run_out(registry):
    assert [registry.allocate() for _ in range(3)] == [1, 2, 3]
    with pytest.raises(amqp.ResourceError, match='all 3 channel ids are in use') as caught:
        registry.allocate()
    assert caught.value.method_sig == (20, 10)


@pytest.mark.parametrize('channel_id', [0, 4, -1, 'x', None])
def test_a_number_that_is_none(registry, channel_id):
    with pytest.raises(amqp.ConnectionError):
        registry.claim(channel_id)


def test_a_number_of_ones_own(registry):
    registry.claim(2)
    with pytest.raises(amqp.ConnectionError, match='2 is in use'):
        registry.claim(2)
    assert [registry.allocate(), registry.allocate()] == [1, 3]


def test_closes_that_cross(registry):
    assert not registry.settle_crossing(1)
    registry.note_crossing(1)
    assert not registry.settle_crossing(2)
    assert registry.settle_crossing(1)
    assert not registry.settle_crossing(1)  # one close-ok, not two


def test_a_channel_that_is_let_go_of(registry):
    channel = Channel(registry, registry.allocate())
    registry.forget(channel, reuse_id=True)
    assert registry.channels == {}
    assert 1 not in registry.ids
    registry.forget(channel, reuse_id=True)  # again: nothing happens


def test_another_channel_of_that_number_is_left_alone(registry):
    old = Channel(registry, registry.allocate())
    registry.forget(old, reuse_id=True)
    registry.claim(1)
    new = Channel(registry, 1)
    registry.forget(old, reuse_id=True)
    assert registry.channels == {1: new}
    assert 1 in registry.ids


def test_a_number_rests_until_it_is_released(registry):
    channel = Channel(registry, registry.allocate())
    registry.forget(channel, reuse_id=False)
    assert registry.channels == {}
    assert registry.is_resting(1)
    with pytest.raises(amqp.ConnectionError):
        registry.claim(1)
    registry.release(1)
    assert not registry.is_resting(1)
    registry.claim(1)


def test_a_channel_moves(registry):
    channel = Channel(registry, registry.allocate())
    registry.move(channel, registry.allocate())
    assert channel.channel_id == channel._inbox.channel_id == channel._outbox.channel_id == 2
    assert registry.channels == {2: channel}
    assert registry.is_resting(1)


def test_all_are_forgotten(registry):
    Channel(registry, registry.allocate())
    registry.clear()
    assert registry.channels == {}


def test_a_lock_that_nobody_here_holds(registry):
    registry._lock.acquire()
    registry.renew_lock()
    assert registry.allocate() == 1


def test_many_threads():
    registry = ChannelRegistry(8)

    def use():
        for _ in range(300):
            channel = Channel(registry, registry.allocate())
            assert registry.channels[channel.channel_id] is channel
            registry.forget(channel, reuse_id=True)

    for thread in [Background(use) for _ in range(8)]:
        thread.result()
    assert registry.channels == {}
    assert len(registry.ids) == 0


def test_many_threads_let_go_of_the_same():
    registry = ChannelRegistry(200)
    channels = [Channel(registry, registry.allocate()) for _ in range(200)]
    threads = [
        Background(lambda: [registry.forget(each, reuse_id=True) for each in channels])
        for _ in range(4)
    ]
    for thread in threads:
        thread.result()
    assert len(registry.ids) == 0
