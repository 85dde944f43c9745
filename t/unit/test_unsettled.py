"""Which messages are unsettled: noted one by one, settled one by one or many at a time."""

from __future__ import annotations

import pytest

from amqp.unsettled import Unsettled


@pytest.fixture
def unsettled():
    made = Unsettled()
    for tag in (1, 2, 3):
        made.add(tag, 'a')
    made.add(4, 'b')
    return made


def test_what_came_for_whom(unsettled):
    assert unsettled.of('a') == [1, 2, 3]
    assert unsettled.of('b') == [4]
    assert unsettled.of('c') == []
    assert (4 in unsettled, 5 in unsettled) == (True, False)


def test_one_is_settled_once(unsettled):
    assert unsettled.take(2)
    assert not unsettled.take(2)
    assert unsettled.of('a') == [1, 3]


@pytest.mark.parametrize(
    ('tag', 'multiple', 'left'),
    [
        (2, False, [1, 3, 4]),
        (2, True, [3, 4]),
        (0, True, []),
        (0, False, [1, 2, 3, 4]),
        (9, False, [1, 2, 3, 4]),
        (9, True, []),
    ],
)
def test_what_is_settled_can_be_restored(unsettled, tag, multiple, left):
    settled = unsettled.settle(tag, multiple)
    assert sorted(unsettled.of('a') + unsettled.of('b')) == left
    unsettled.restore(settled)
    assert sorted(unsettled.of('a')) == [1, 2, 3]
    assert unsettled.of('b') == [4]


def test_to_watch_one_that_is_known_changes_nothing(unsettled):
    unsettled.watch(4)
    assert unsettled.of('b') == [4]
    unsettled.watch(5)
    assert unsettled.of(None) == [5]
    assert unsettled.take(5)


def test_a_tag_that_is_used_anew(unsettled):
    """On a channel that was opened again they begin with 1."""
    unsettled.add(4, 'c')
    assert (unsettled.of('b'), unsettled.of('c')) == ([], [4])


def test_all_are_taken_back(unsettled):
    unsettled.clear()
    assert not unsettled.take(1)
    assert unsettled.of('a') == []
