"""Timers, on a clock that the tests set."""

from __future__ import annotations

from math import inf

import pytest

from amqp.timers import PURGE_SIZE, TimerQueue


@pytest.fixture
def timers():
    return TimerQueue()


def run(timers, now):
    """Call all that is due."""
    while (callback := timers.pop_due(now)) is not None:
        callback()


def test_none_is_due_where_there_is_none(timers):
    assert timers.next_due() == inf
    assert timers.pop_due(inf) is None
    assert not timers.is_earlier(inf)


def test_they_are_called_in_the_order_of_their_times(timers):
    called = []
    for due in (3.0, 1.0, 2.0):
        timers.add(due, lambda due=due: called.append(due))
    assert timers.next_due() == 1.0
    run(timers, 2.5)
    assert called == [1.0, 2.0]
    assert timers.next_due() == 3.0
    run(timers, 3.0)
    assert called == [1.0, 2.0, 3.0]


def test_of_the_same_time_the_first_asked_for_is_called_first(timers):
    called = []
    for number in range(100):
        timers.add(1.0, lambda number=number: called.append(number))
    run(timers, 1.0)
    assert called == list(range(100))


def test_each_is_called_once(timers):
    called = []
    timer = timers.add(1.0, lambda: called.append(1))
    assert timer.is_pending
    run(timers, 1.0)
    run(timers, 2.0)
    assert called == [1]
    assert not timer.is_pending


def test_one_added_while_another_is_called(timers):
    called = []
    timers.add(1.0, lambda: timers.add(0.5, lambda: called.append('inner')))
    timers.add(1.0, lambda: called.append('outer'))
    run(timers, 1.0)
    assert called == ['inner', 'outer']


def test_one_that_is_cancelled_is_not_called(timers):
    called = []
    first = timers.add(1.0, lambda: called.append('first'))
    timers.add(2.0, lambda: called.append('second'))
    first.cancel()
    first.cancel()
    assert not first.is_pending
    assert timers.next_due() == 2.0
    run(timers, 2.0)
    assert called == ['second']
    first.cancel()


def test_one_that_is_cancelled_by_another_that_is_due_at_the_same_time(timers):
    called = []
    timers.add(1.0, lambda: second.cancel())
    second = timers.add(1.0, lambda: called.append('second'))
    run(timers, 1.0)
    assert called == []


def test_an_earlier_one_is_seen_before_it_is_put_in_order(timers):
    timers.add(2.0, print)
    assert timers.next_due() == 2.0
    assert not timers.is_earlier(2.0)
    timers.add(1.0, print)
    assert timers.is_earlier(2.0)
    assert timers.next_due() == 1.0
    assert timers.is_earlier(2.0)
    assert not timers.is_earlier(1.0)


def test_what_was_cancelled_takes_no_memory_for_long(timers):
    kept = timers.add(1.0, print)
    for _ in range(100 * PURGE_SIZE):
        timers.add(2.0, print).cancel()
        timers.next_due()
    assert len(timers._heap) <= PURGE_SIZE
    assert timers.pop_due(1.0) is print
    assert not kept.is_pending


def test_repr(timers):
    timer = timers.add(1.5, print)
    assert repr(timer) == '<Timer 1 (due at 1.5)>'
    timer.cancel()
    assert repr(timer) == '<Timer 1 (over)>'


def test_one_that_is_being_put_in_order_is_seen_by_others(timers):
    """By a thread that looks whether to wait, and one that asks for another timer."""
    seen = []

    class Due(float):
        def __lt__(self, other):
            seen.append(timers.is_earlier(2.0))
            return float(self) < other

    timers.add(Due(1.0), print)
    assert timers.next_due() == 1.0
    assert seen
    assert all(seen)
