"""Cutting the stream into frames: any cut of it, greedy or exact, yields the same frames."""

from __future__ import annotations

from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqp.exceptions import FrameError
from amqp.read_buffer import CAPACITY, ReadBuffer

FRAME_MAX = 3 * CAPACITY

#: Around what the buffer holds in one piece, beside everyday sizes.
SIZES = st.one_of(
    st.integers(0, 40),
    st.integers(0, 5000),
    st.integers(CAPACITY - 20, CAPACITY + 20),
    st.integers(0, FRAME_MAX - 8),
)
FRAMES = st.lists(
    st.tuples(st.sampled_from([1, 2, 3, 8]), st.integers(0, 65535), SIZES), max_size=8
)


def encode(frame_type, channel, payload, end=206):
    return pack('>BHI', frame_type, channel, len(payload)) + payload + bytes([end])


def contents(frames):
    """Payloads of the sizes asked for, no two frames alike."""
    return [
        (kind, channel, bytes((number + each) % 251 for each in range(min(size, 300))).ljust(size))
        for number, (kind, channel, size) in enumerate(frames)
    ]


class Feed:
    """The kernel's side: gives what is asked for, at most so much at a time."""

    def __init__(self, stream, frame_max=FRAME_MAX):
        self.stream = stream
        self.position = 0
        self.buffer = ReadBuffer(frame_max)

    def frames_there(self):
        found = []
        while True:
            announced = self.buffer.has_frame()
            frame = self.buffer.next_frame()
            assert announced == (frame is not None)
            if frame is None:
                return found
            found.append(frame)

    def give(self, most, greedy):
        space = self.buffer.space(greedy)
        assert len(space) > 0
        piece = self.stream[self.position : self.position + min(most, len(space))]
        space[: len(piece)] = piece
        self.buffer.received(len(piece))
        self.position += len(piece)
        return len(space)


@settings(deadline=None, max_examples=120)
@given(frames=FRAMES, cuts=st.lists(st.tuples(st.integers(1, 2 * CAPACITY), st.booleans())))
def test_any_cut_yields_the_same_frames(frames, cuts):
    frames = contents(frames)
    feed = Feed(b''.join(encode(*frame) for frame in frames))
    found = feed.frames_there()
    for most, greedy in cuts:
        feed.give(most, greedy)
        found += feed.frames_there()
    while feed.position < len(feed.stream):
        feed.give(CAPACITY, greedy=True)
        found += feed.frames_there()
    assert found == frames
    assert all(type(payload) is bytes for _, _, payload in found)
    assert not feed.buffer
    assert feed.buffer.frames_read == len(frames)


def test_octet_by_octet():
    frames = contents([(1, 1, 20), (2, 1, 14), (3, 1, 0), (3, 1, 9), (8, 0, 0)])
    feed = Feed(b''.join(encode(*frame) for frame in frames))
    found = []
    for _ in range(len(feed.stream)):
        feed.give(1, greedy=False)
        found += feed.frames_there()
    assert found == frames


@settings(deadline=None, max_examples=60)
@given(frames=FRAMES, most=st.integers(1, 2 * CAPACITY))
def test_exact_mode_never_asks_for_more_than_the_frame_at_hand(frames, most):
    frames = contents(frames)
    feed = Feed(b''.join(encode(*frame) for frame in frames))
    end = 0
    for frame in frames:
        end += 8 + len(frame[2])
        while not (found := feed.frames_there()):
            asked = feed.give(most, greedy=False)
            assert feed.position <= end
            assert asked <= end
        assert found == [frame]
        assert feed.position == end
        assert not feed.buffer


def test_exact_mode_asks_for_the_header_then_for_the_rest():
    feed = Feed(encode(1, 1, b'x' * 50))
    assert feed.give(3, greedy=False) == 7
    assert feed.frames_there() == []
    assert feed.give(99, greedy=False) == 4
    assert feed.frames_there() == []
    assert feed.give(20, greedy=False) == 51
    assert feed.give(99, greedy=False) == 31
    assert feed.frames_there() == [(1, 1, b'x' * 50)]


def test_greedy_mode_offers_all_the_room_there_is():
    feed = Feed(encode(1, 1, b'abc') + encode(3, 1, b'x' * 100))
    assert feed.give(11 + 50, greedy=True) == CAPACITY >= 64 * 1024
    assert feed.frames_there() == [(1, 1, b'abc')]
    assert feed.give(0, greedy=True) == CAPACITY - 50  # the rest has moved to the front
    feed.give(99, greedy=True)
    assert feed.frames_there() == [(3, 1, b'x' * 100)]


def test_exact_mode_moves_what_it_has_where_the_frame_would_not_fit_behind_it():
    size = CAPACITY - 100
    feed = Feed(encode(1, 1, b'x' * 1000) + encode(3, 1, b'y' * size))
    feed.give(1008 + 30, greedy=True)
    assert feed.frames_there() == [(1, 1, b'x' * 1000)]
    assert feed.give(CAPACITY, greedy=False) == size + 8 - 30
    assert feed.frames_there() == [(3, 1, b'y' * size)]


@pytest.mark.parametrize('greedy', [False, True])
def test_a_large_body_is_received_straight_into_its_own_memory(greedy):
    size = 2 * CAPACITY
    feed = Feed(encode(3, 1, b'z' * size) + encode(8, 0, b''))
    feed.give(100, greedy=True)
    assert feed.frames_there() == []
    assert bool(feed.buffer)
    # Greedy too asks for no more than this frame then.
    assert feed.give(size, greedy) == size + 8 - 100
    assert feed.frames_there() == [(3, 1, b'z' * size)]
    assert not feed.buffer
    feed.give(8, greedy=True)
    assert feed.frames_there() == [(8, 0, b'')]


def test_its_truth_is_whether_it_holds_anything():
    feed = Feed(encode(8, 0, b''))
    assert not feed.buffer
    feed.give(1, greedy=True)
    assert feed.buffer
    feed.give(7, greedy=True)
    assert feed.buffer
    assert feed.frames_there() == [(8, 0, b'')]
    assert not feed.buffer


def refusal(stream, frame_max=4096):
    feed = Feed(stream, frame_max)
    feed.give(CAPACITY, greedy=True)
    assert feed.buffer.has_frame()
    with pytest.raises(FrameError) as caught:
        feed.buffer.next_frame()
    return str(caught.value.reply_text)


@pytest.mark.parametrize('kind', [0, 4, 5, 6, 7, 9, 255])
def test_a_type_that_is_none(kind):
    assert refusal(pack('>BHI', kind, 3, 0)) == f'frame of unknown type {kind} on channel 3'


def test_the_protocol_header_as_an_answer():
    assert 'it answered with a header' in refusal(b'AMQP\x00\x00\x09\x01')


def test_a_frame_above_frame_max_is_refused_by_its_header_alone():
    assert refusal(pack('>BHI', 3, 7, 4089)) == (
        'frame of 4097 octets on channel 7: frame_max is 4096'
    )
    assert 'frame_max' in refusal(pack('>BHI', 3, 7, 2**32 - 1), frame_max=2**20)


def test_a_frame_of_just_frame_max_is_taken():
    feed = Feed(encode(3, 7, b'x' * 4088), frame_max=4096)
    feed.give(CAPACITY, greedy=True)
    assert feed.frames_there() == [(3, 7, b'x' * 4088)]


def test_frame_max_can_be_set_later():
    feed = Feed(encode(3, 7, b'x' * 5000), frame_max=4096)
    feed.buffer.frame_max = 5008
    feed.give(CAPACITY, greedy=True)
    assert feed.frames_there() == [(3, 7, b'x' * 5000)]


@pytest.mark.parametrize('size', [0, 10, CAPACITY - 8])
def test_a_wrong_end_octet(size):
    assert refusal(encode(1, 2, b'x' * size, end=0), frame_max=FRAME_MAX) == (
        'frame of type 1 on channel 2 ends in octet 0x00, not in 0xce'
    )


def test_a_wrong_end_octet_of_a_large_frame():
    size = 2 * CAPACITY
    feed = Feed(encode(3, 2, b'x' * size, end=0xCD))
    feed.give(CAPACITY, greedy=True)
    assert feed.frames_there() == []
    feed.give(size, greedy=True)
    assert feed.buffer.has_frame()
    with pytest.raises(FrameError, match='0xcd'):
        feed.buffer.next_frame()
