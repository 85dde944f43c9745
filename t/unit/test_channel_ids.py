"""Allocation of channel ids, against a model of sets."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from amqp.channel_ids import ChannelIds

CHANNEL_MAX = 6


class Allocation(RuleBasedStateMachine):
    """Whatever the order: an id has one owner at a time, and none is lost."""

    def __init__(self):
        super().__init__()
        self.ids = ChannelIds(CHANNEL_MAX)
        self.used: set[int] = set()
        self.resting: set[int] = set()
        self.ever_used: set[int] = set()

    @rule()
    def allocate(self):
        free = set(range(1, CHANNEL_MAX + 1)) - self.used
        if not free:
            with pytest.raises(LookupError, match=f'all {CHANNEL_MAX} channel ids'):
                self.ids.allocate()
            return
        channel_id = self.ids.allocate()
        assert channel_id in free
        if free - self.ever_used:
            assert channel_id not in self.ever_used, 'a fresh id was free'
        self.used.add(channel_id)
        self.ever_used.add(channel_id)

    @rule(channel_id=st.integers(-1, CHANNEL_MAX + 2))
    def claim(self, channel_id):
        if channel_id in self.used or not 1 <= channel_id <= CHANNEL_MAX:
            with pytest.raises(ValueError):
                self.ids.claim(channel_id)
            return
        self.ids.claim(channel_id)
        self.used.add(channel_id)
        self.ever_used.add(channel_id)

    @rule(channel_id=st.integers(0, CHANNEL_MAX + 1))
    def release(self, channel_id):
        self.ids.release(channel_id)
        self.used.discard(channel_id)
        self.resting.discard(channel_id)

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def rest(self, data):
        channel_id = data.draw(st.sampled_from(sorted(self.used)))
        self.ids.rest(channel_id)
        self.resting.add(channel_id)

    @invariant()
    def agrees(self):
        assert len(self.ids) == len(self.used)
        for channel_id in range(CHANNEL_MAX + 2):
            assert (channel_id in self.ids) == (channel_id in self.used)
            assert self.ids.is_resting(channel_id) == (channel_id in self.resting)


Allocation.TestCase.settings = settings(deadline=None, max_examples=80, stateful_step_count=40)
TestAllocation = Allocation.TestCase


def test_fresh_ids_first_then_those_released_longest_ago():
    ids = ChannelIds(4)
    assert [ids.allocate(), ids.allocate()] == [1, 2]
    ids.release(2)
    ids.release(1)
    assert [ids.allocate() for _ in range(4)] == [3, 4, 2, 1]


def test_a_claimed_id_is_passed_over_by_either_way():
    ids = ChannelIds(4)
    ids.claim(2)
    assert [ids.allocate(), ids.allocate()] == [1, 3]
    ids.release(1)
    ids.release(3)
    ids.claim(1)  # leaves the line of the released
    assert [ids.allocate(), ids.allocate()] == [4, 3]
    with pytest.raises(LookupError):
        ids.allocate()


def test_an_id_claimed_before_its_turn_is_handed_out_once():
    ids = ChannelIds(3)
    ids.claim(2)
    ids.release(2)  # not reached by the fresh ones yet
    assert [ids.allocate() for _ in range(3)] == [1, 3, 2]
    with pytest.raises(LookupError):
        ids.allocate()


@pytest.mark.parametrize('channel_id', [0, -1, 4])
def test_claim_out_of_range(channel_id):
    with pytest.raises(ValueError, match=r'not within 1\.\.3'):
        ChannelIds(3).claim(channel_id)


def test_claim_of_one_in_use():
    ids = ChannelIds(3)
    ids.claim(3)
    with pytest.raises(ValueError, match='3 is in use'):
        ids.claim(3)


def test_a_resting_id_is_not_handed_out_before_its_release():
    ids = ChannelIds(1)
    ids.rest(ids.allocate())
    with pytest.raises(LookupError):
        ids.allocate()
    ids.release(1)
    assert not ids.is_resting(1)
    assert ids.allocate() == 1


def test_what_is_kept_does_not_grow_with_use():
    ids = ChannelIds(8)
    for _ in range(1000):
        ids.release(ids.allocate())
        ids.release(5)
        ids.claim(5)
    assert len(ids._released) <= 8
