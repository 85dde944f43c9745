"""The memory of a body: any pieces in any way make the same octets, without a copy."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqp.body_buffer import BodyBuffer

MIB = 1024 * 1024

PIECES = st.lists(
    st.tuples(st.binary(min_size=1, max_size=3000), st.sampled_from(['room', 'bytes', 'view'])),
    max_size=20,
)


@settings(deadline=None)
@given(pieces=PIECES)
def test_any_pieces(pieces):
    body = b''.join(piece for piece, _ in pieces)
    memory = BodyBuffer(len(body))
    for piece, way in pieces:
        assert not memory.is_whole()
        if way == 'room':
            room = memory.room(len(piece))
            assert len(room) == len(piece)
            room[:] = piece
            memory.add(room)
        else:
            memory.add(piece if way == 'bytes' else memoryview(piece))
    assert memory.is_whole()
    assert memory.received == memory.size == len(body)
    assert memory.body() == body
    assert type(memory.body()) is bytes


def test_an_empty_body():
    memory = BodyBuffer(0)
    assert memory.is_whole()
    assert memory.body() == b''


def test_room_is_no_more_than_was_asked_for():
    memory = BodyBuffer(10)
    memory.add(b'abcd')
    assert len(memory.room(3)) == 3
    assert memory.received == 4  # not yet


def test_a_second_look_at_the_memory_writes_nothing_over():
    memory = BodyBuffer(8)
    for piece in (b'abcd', b'ef', b'gh'):  # from the first on it has its whole size
        room = memory.room(len(piece))
        room[:] = piece
        memory.add(room)
    assert memory.body() == b'abcdefgh'


def test_room_is_let_go_of_with_what_it_took():
    """A view that somebody keeps must not keep the body from growing."""
    memory = BodyBuffer(6)
    room = memory.room(3)
    room[:] = b'abc'
    memory.add(room)
    with pytest.raises(ValueError, match='released'):
        room[0]
    memory.add(b'def')
    assert memory.body() == b'abcdef'


def test_memory_is_taken_for_what_comes_not_for_what_is_announced():
    tracemalloc.start()
    try:
        memory = BodyBuffer(2**62)
        memory.add(b'abc')
        memory.room(MIB)
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('frame', [128 * 1024 - 8, MIB])
def test_a_large_body_takes_its_own_size_and_little_more(frame):
    size = 64 * MIB
    tracemalloc.start()
    try:
        memory = BodyBuffer(size)
        while not memory.is_whole():
            memory.add(memory.room(min(frame, size - memory.received)))
        body = memory.body()
        del memory
        current, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(body) == size
    assert current < 1.01 * size
    assert peak < 1.1 * size
