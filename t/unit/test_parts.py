"""The parts of a write: joined where they are small, and cut where they were sent in part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqp.parts import JOIN_LIMIT, drop_sent, gathered

PARTS = st.lists(st.binary(max_size=5), max_size=6)


def test_small_neighbours_are_joined_and_large_ones_left_where_they_lie():
    large = bytearray(JOIN_LIMIT)
    view = memoryview(large)
    found = gathered([b'a', b'b', large, view, b'c', memoryview(b'd')])
    assert found == [b'ab', large, view, b'cd']
    assert found[1] is large
    assert found[2] is view


@pytest.mark.parametrize('parts', [[], [b'one'], [bytes(JOIN_LIMIT)]], ids=len)
def test_nothing_to_join(parts):
    assert gathered(parts) == parts


@given(parts=PARTS, data=st.data())
def test_what_was_sent_is_dropped(parts, data):
    octets = b''.join(parts)
    count = data.draw(st.integers(0, len(octets)))
    drop_sent(parts, count)
    assert b''.join(parts) == octets[count:]
    assert not parts or count < len(octets) or parts[0] == b''
