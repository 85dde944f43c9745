"""Deadlines, on a clock that the tests set."""

from __future__ import annotations

from math import inf

import pytest

from amqp.deadline import Deadline


@pytest.mark.parametrize(
    ('timeout', 'at'), [(None, inf), (0, 100.0), (2.5, 102.5), (-1, 100.0), (-0.001, 100.0)]
)
def test_end(timeout, at):
    assert Deadline(timeout, 100.0).at == at


@pytest.mark.parametrize(
    ('timeout', 'now', 'remaining', 'expired'),
    [
        (None, 1e12, None, False),
        (5, 100.0, 5.0, False),
        (5, 104.0, 1.0, False),
        (5, 105.0, 0.0, True),
        (5, 106.0, 0.0, True),
        (0, 100.0, 0.0, True),
    ],
)
def test_what_is_left(timeout, now, remaining, expired):
    deadline = Deadline(timeout, 100.0)
    assert deadline.remaining(now) == remaining
    assert deadline.expired(now) is expired


def test_the_earlier_of_two_holds():
    deadline = Deadline(5, 100.0)
    assert deadline.no_later_than(106.0) is deadline
    assert deadline.no_later_than(105.0) is deadline
    assert deadline.no_later_than(inf) is deadline
    earlier = deadline.no_later_than(103.0)
    assert earlier.at == 103.0
    assert earlier.expired(103.0)
    assert deadline.at == 105.0


def test_no_end_is_bounded_by_a_moment():
    deadline = Deadline(None, 100.0)
    assert deadline.no_later_than(103.0).remaining(100.0) == 3.0
    assert deadline.no_later_than(inf) is deadline


def test_repr_tells_the_end():
    assert repr(Deadline(5, 100.0)) == '<Deadline at 105.0>'
