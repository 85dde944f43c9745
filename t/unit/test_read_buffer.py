"""Cutting the stream into frames: any cut of it yields the same frames."""

from __future__ import annotations

import sys
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import amqp
from amqp.body_buffer import BodyBuffer
from amqp.exceptions import FrameError
from amqp.read_buffer import CAPACITY, DIRECT_SIZE, GROWTH, IDLE_CAPACITY, ReadBuffer
from t.helpers.threads import Interrupted

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

    def give(self, most):
        space = self.buffer.space()
        assert len(space) > 0
        piece = self.stream[self.position : self.position + min(most, len(space))]
        space[: len(piece)] = piece
        self.buffer.received(len(piece))
        self.position += len(piece)
        return len(space)


@settings(deadline=None, max_examples=120)
@given(frames=FRAMES, cuts=st.lists(st.integers(1, 2 * CAPACITY)))
def test_any_cut_yields_the_same_frames(frames, cuts):
    frames = contents(frames)
    feed = Feed(b''.join(encode(*frame) for frame in frames))
    found = feed.frames_there()
    for most in cuts:
        feed.give(most)
        found += feed.frames_there()
    while feed.position < len(feed.stream):
        feed.give(CAPACITY)
        found += feed.frames_there()
    assert found == frames
    assert all(type(payload) is bytes for _, _, payload in found)
    assert not feed.buffer
    assert feed.buffer.frames_read == len(frames)
    assert feed.buffer.messages_read == sum(kind == 2 for kind, _, _ in frames)


def test_octet_by_octet():
    frames = contents([(1, 1, 20), (2, 1, 14), (3, 1, 0), (3, 1, 9), (8, 0, 0)])
    feed = Feed(b''.join(encode(*frame) for frame in frames))
    found = []
    for _ in range(len(feed.stream)):
        feed.give(1)
        found += feed.frames_there()
    assert found == frames


def test_all_the_room_there_is_is_offered():
    feed = Feed(encode(1, 1, b'abc') + encode(3, 1, b'x' * 100))
    assert feed.give(11 + 50) == IDLE_CAPACITY
    assert feed.frames_there() == [(1, 1, b'abc')]
    assert feed.give(0) == IDLE_CAPACITY - 50  # the rest has moved to the front
    feed.give(99)
    assert feed.frames_there() == [(3, 1, b'x' * 100)]


def test_room_grows_where_more_comes_and_is_given_back():
    frame = encode(1, 1, b'x' * 92)
    feed = Feed(frame * 4000)
    assert not feed.buffer.is_large()
    given = [feed.give(CAPACITY)]
    count = 0
    while feed.position < len(feed.stream):
        count += len(feed.frames_there())
        given.append(feed.give(CAPACITY))
        feed.buffer.shrink()
        assert feed.buffer.is_large()  # it holds something
    held = [IDLE_CAPACITY % 100, sum(given[:2]) % 100]
    expected = [IDLE_CAPACITY, GROWTH * IDLE_CAPACITY - held[0], CAPACITY - held[1]]
    assert given[:3] == expected
    assert count + len(feed.frames_there()) == 4000
    assert feed.buffer.is_large()
    feed.buffer.shrink()
    assert not feed.buffer.is_large()
    assert feed.give(0) == IDLE_CAPACITY


def test_a_receive_that_left_room_makes_it_no_larger():
    feed = Feed(encode(1, 1, b'x' * 92) * 40)
    feed.give(4000)
    assert len(feed.frames_there()) == 40
    assert feed.give(0) == IDLE_CAPACITY


def test_a_frame_that_would_not_fit_behind_what_there_is_moves_to_the_front():
    size = CAPACITY - 100
    feed = Feed(encode(1, 1, b'x' * 1000) + encode(3, 1, b'y' * size))
    feed.give(1008 + 30)
    assert feed.frames_there() == [(1, 1, b'x' * 1000)]
    assert feed.give(CAPACITY) == CAPACITY - 30
    assert feed.frames_there() == [(3, 1, b'y' * size)]


@pytest.mark.parametrize('kind', [1, 2, 3, 8])
def test_a_large_frame_is_received_straight_into_memory_of_its_own(kind):
    size = 2 * CAPACITY
    feed = Feed(encode(kind, 1, b'z' * size) + encode(8, 0, b''))
    feed.give(100)
    assert feed.frames_there() == []
    assert feed.buffer
    assert feed.buffer.awaited is not None
    assert not feed.buffer.reads_ahead()
    assert feed.give(size) == size + 7 - 100
    assert feed.frames_there() == []
    assert feed.buffer.reads_ahead()
    feed.give(9)
    assert feed.frames_there() == [(kind, 1, b'z' * size), (8, 0, b'')]
    assert not feed.buffer
    assert feed.buffer.awaited is None


@pytest.mark.parametrize('size', [CAPACITY - 7, CAPACITY, 2 * CAPACITY])
@pytest.mark.parametrize('behind', [False, True])
def test_there_is_room_even_where_nobody_asked_for_a_frame(size, behind):
    """A receive into no room at all would pass for the end of the stream."""
    feed = Feed(encode(8, 0, b'') + encode(1, 1, b'z' * size))
    if behind:
        feed.give(20)
        assert feed.buffer.next_frame() == (8, 0, b'')
    else:
        feed.position = 8
    while not feed.buffer.has_frame():
        assert feed.give(CAPACITY) > 0
    assert feed.frames_there() == [(1, 1, b'z' * size)]


# -- bodies in place


def placed(feed, channel, size):
    body = feed.buffer.bodies[channel] = BodyBuffer(size)
    return body


def test_a_body_is_received_straight_into_place():
    feed = Feed(encode(3, 1, b'a' * DIRECT_SIZE) * 3 + encode(8, 0, b''))
    body = placed(feed, 1, 3 * DIRECT_SIZE)
    asked = []
    while feed.position < len(feed.stream):
        asked.append(feed.give(CAPACITY))
        while (frame := feed.buffer.next_frame()) is not None:
            if frame[0] == 3:
                assert type(frame[2]) is memoryview
                assert frame[:2] == (3, 1)
                body.add(frame[2])
    assert body.body() == b'a' * (3 * DIRECT_SIZE)
    # The beginning came with what was there. Between two pieces of a body the end octet and the
    # next header are asked for, and nothing that has its place elsewhere.
    rest = DIRECT_SIZE + 7 - IDLE_CAPACITY
    assert asked == [IDLE_CAPACITY, rest, 8, DIRECT_SIZE, 8, DIRECT_SIZE, IDLE_CAPACITY]
    assert feed.buffer.frames_read == 4
    assert not feed.buffer
    assert not feed.buffer.is_large()


def test_what_is_received_into_place_is_not_read_ahead():
    feed = Feed(encode(3, 1, b'a' * DIRECT_SIZE) * 2)
    placed(feed, 1, 2 * DIRECT_SIZE)
    feed.give(8)
    assert feed.buffer.next_frame() is None
    assert not feed.buffer.reads_ahead()
    feed.give(CAPACITY)
    assert not feed.buffer.reads_ahead()  # the body goes on


def test_small_pieces_and_other_channels_have_no_place():
    small = DIRECT_SIZE - 1
    feed = Feed(encode(3, 1, b'a' * small) + encode(3, 2, b'b' * DIRECT_SIZE))
    placed(feed, 1, 2**40)
    found = []
    while feed.position < len(feed.stream):
        feed.give(1000)
        found += feed.frames_there()
    assert found == [(3, 1, b'a' * small), (3, 2, b'b' * DIRECT_SIZE)]


def test_more_than_was_announced_gets_no_place():
    """Whoever knows of the announcement tells."""
    feed = Feed(encode(3, 1, b'a' * (2 * DIRECT_SIZE)))
    placed(feed, 1, 2 * DIRECT_SIZE - 1)
    found = []
    while feed.position < len(feed.stream):
        feed.give(1000)
        found += feed.frames_there()
    assert found == [(3, 1, b'a' * (2 * DIRECT_SIZE))]


def test_a_wrong_end_octet_behind_a_body_in_place():
    feed = Feed(encode(3, 1, b'a' * DIRECT_SIZE, end=1) * 2)
    placed(feed, 1, 2 * DIRECT_SIZE)
    for _ in range(10):
        assert feed.buffer.next_frame() is None
        feed.give(1000)
    with pytest.raises(FrameError, match='frame of type 3 on channel 1 ends in octet 0x01'):
        feed.buffer.next_frame()


@settings(deadline=None, max_examples=100)
@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 3 * DIRECT_SIZE)), min_size=1, max_size=10
    ),
    cuts=st.lists(st.integers(1, 2 * DIRECT_SIZE), min_size=1, max_size=40),
)
def test_any_cut_yields_the_same_bodies(sizes, cuts):
    """Bodies of three channels, their pieces in any order and the stream cut anywhere."""
    expected = {1: b'', 2: b'', 3: b''}
    stream = b''
    for number, (channel, size) in enumerate(sizes):
        piece = bytes((number + each) % 251 for each in range(size))
        expected[channel] += piece
        stream += encode(3, channel, piece)
    feed = Feed(stream)
    bodies = {each: placed(feed, each, len(body)) for each, body in expected.items()}
    turn = 0
    while feed.position < len(stream):
        feed.give(cuts[turn % len(cuts)])
        turn += 1
        while (frame := feed.buffer.next_frame()) is not None:
            bodies[frame[1]].add(frame[2])
    assert {each: body.body() for each, body in bodies.items()} == expected
    assert feed.buffer.frames_read == len(sizes)
    assert not feed.buffer


def test_its_truth_is_whether_it_holds_anything():
    feed = Feed(encode(8, 0, b''))
    assert not feed.buffer
    feed.give(1)
    assert feed.buffer
    feed.give(7)
    assert feed.buffer
    assert feed.frames_there() == [(8, 0, b'')]
    assert not feed.buffer


def refusal(stream, frame_max=4096):
    feed = Feed(stream, frame_max)
    while not feed.buffer.has_frame():
        feed.give(CAPACITY)
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
    feed.give(CAPACITY)
    assert feed.frames_there() == [(3, 7, b'x' * 4088)]


def test_frame_max_can_be_set_later():
    feed = Feed(encode(3, 7, b'x' * 5000), frame_max=4096)
    feed.buffer.frame_max = 5008
    while not feed.buffer.has_frame():
        feed.give(CAPACITY)
    assert feed.frames_there() == [(3, 7, b'x' * 5000)]


@pytest.mark.parametrize('size', [0, 10, CAPACITY - 8])
def test_a_wrong_end_octet(size):
    assert refusal(encode(1, 2, b'x' * size, end=0), frame_max=FRAME_MAX) == (
        'frame of type 1 on channel 2 ends in octet 0x00, not in 0xce'
    )


def test_a_wrong_end_octet_of_a_large_frame():
    size = 2 * CAPACITY
    feed = Feed(encode(3, 2, b'x' * size, end=0xCD))
    while feed.position < len(feed.stream):
        assert feed.frames_there() == []
        feed.give(CAPACITY)
    assert feed.buffer.has_frame()
    with pytest.raises(FrameError, match='0xcd'):
        feed.buffer.next_frame()


@pytest.mark.skipif(amqp.speedups == 'compiled', reason='no handler runs within C')
def test_a_signal_handler_that_raises_anywhere_within():
    """Nothing is lost, or the number of frames tells that one was taken and not handed out."""
    payloads = [b'a' * 3000, b'b' * 300_000, b'c' * 3000, b'd']
    octets = b''.join(encode(3, 1, payload) for payload in payloads)
    step, interrupted = 0, True
    while interrupted:
        step += 1
        interrupted, handed_out, frames_read = receive_interrupted(octets, step)
        assert handed_out == payloads or frames_read > len(handed_out)
    assert step > 20


def receive_interrupted(octets, step):
    """Whether there is such a step of a call, what was handed out, and how many frames were."""
    buffer, rest, handed_out = ReadBuffer(1 << 20), memoryview(octets), []
    steps = iter(range(1, step + 1))

    def count(*event):
        if next(steps, step) == step:
            raise Interrupted

    def call(function):
        sys.setprofile(count if interrupted is False else None)
        try:
            return function()
        finally:
            sys.setprofile(None)

    interrupted = False
    while len(handed_out) < 4 and buffer.frames_read == len(handed_out):
        try:
            frame = call(buffer.next_frame)
            if frame is not None:
                handed_out.append(bytes(frame[2]))
                continue
            room = call(buffer.space)
        except Interrupted:
            interrupted = True
            continue
        taken = rest[: len(room)]
        assert taken, 'more is awaited than has been sent'
        room[: len(taken)] = taken
        rest = rest[len(taken) :]
        buffer.received(len(taken))
    return interrupted, handed_out, buffer.frames_read
