"""The channels of a connection by number."""

import threading

import pytest

from amqp.channel_registry import ChannelRegistry
from amqp.exceptions import ConnectionError, ResourceError


class Numbered:
    def __init__(self, registry, channel_id):
        self.channel_id = channel_id
        registry.channels[channel_id] = self


@pytest.fixture
def registry():
    return ChannelRegistry(2)


def test_numbers_run_out(registry):
    assert [registry.allocate(), registry.allocate()] == [1, 2]
    with pytest.raises(ResourceError, match='all 2 channel ids are in use'):
        registry.allocate()


@pytest.mark.parametrize('wrong', [0, 3, 1, 'one'])
def test_a_number_that_cannot_be_claimed(registry, wrong):
    registry.claim(1)
    with pytest.raises(ConnectionError):
        registry.claim(wrong)


def test_a_number_given_back_is_free_again(registry):
    channel = Numbered(registry, registry.allocate())
    registry.forget(channel, reuse_id=True)
    assert registry.channels == {}
    assert {registry.allocate(), registry.allocate()} == {1, 2}


def test_a_resting_number_is_free_when_the_broker_let_go(registry):
    channel = Numbered(registry, registry.allocate())
    registry.forget(channel, reuse_id=False)
    assert registry.is_resting(1)
    assert registry.allocate() == 2
    with pytest.raises(ResourceError):
        registry.allocate()
    registry.release(1)
    assert not registry.is_resting(1)
    assert registry.allocate() == 1


def test_a_stranger_takes_nothing_out(registry):
    channel = Numbered(registry, registry.allocate())
    stranger = Numbered(ChannelRegistry(2), 1)
    registry.forget(stranger, reuse_id=True)
    assert registry.channels == {1: channel}
    registry.forget(channel, reuse_id=True)
    registry.forget(channel, reuse_id=True)
    assert registry.channels == {}


def test_a_moved_channel_is_known_by_its_new_number(registry):
    channel = Numbered(registry, registry.allocate())
    registry.move(channel, registry.allocate())
    assert channel.channel_id == 2
    assert registry.channels == {2: channel}
    assert registry.is_resting(1)


def test_numbers_of_threads_differ():
    registry = ChannelRegistry(800)
    start = threading.Barrier(8)
    taken = []

    def take():
        start.wait(10)
        taken.extend([registry.allocate() for _ in range(100)])

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(taken) == list(range(1, 801))


def test_a_lock_held_in_the_parent_is_renewed(registry):
    assert registry._lock.acquire(blocking=False)
    registry.renew_lock()
    assert registry.allocate() == 1


def test_clear(registry):
    Numbered(registry, registry.allocate())
    registry.clear()
    assert registry.channels == {}
