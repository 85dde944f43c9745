"""Frames to methods with content, and back: over the real read buffer and a recorded write."""

from __future__ import annotations

import struct
import time
from math import inf
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp import frame as pamqp_frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from amqp import spec
from amqp.basic_message import Message
from amqp.exceptions import (
    ChannelNotOpen,
    EncodeError,
    FrameError,
    FrameSyntaxError,
    UnexpectedFrame,
)
from amqp.method_framing import CONTENT_METHODS, frame_handler, frame_writer

DELIVER = spec.Basic.Deliver
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8


def method(sig, args=b''):
    return struct.pack('>HH', *sig) + args


def header(body_size, class_id=60, properties=b'\0\0'):
    return struct.pack('>HHQ', class_id, 0, body_size) + properties


class Inbound:
    """A frame handler, and what it has handed on."""

    def __init__(self, max_message_size=0, **options):
        self.methods = []
        self.connection = SimpleNamespace(
            max_message_size=max_message_size, channels={0, 1, 2, 3}, _check_stray=self.check_stray
        )
        self.handler = frame_handler(
            self.connection, lambda *method: self.methods.append(method), **options
        )

    def check_stray(self, channel, sig):
        raise ChannelNotOpen(f'channel {channel}', sig)

    def feed(self, *frames):
        """Whether each of the frames completed a method."""
        return [self.handler(frame) for frame in frames]

    def bodies(self):
        return [(channel, content.body) for channel, _, _, content in self.methods]


# -- in


def test_a_method_without_content_is_complete_at_once():
    inbound = Inbound()
    payload = method(spec.Channel.OpenOk, b'\0\0\0\0')
    assert inbound.feed((METHOD, 3, payload)) == [True]
    assert inbound.methods == [(3, spec.Channel.OpenOk, payload, None)]


@pytest.mark.parametrize('sig', sorted(CONTENT_METHODS))
def test_content_without_a_body_is_complete_with_its_header(sig):
    inbound = Inbound()
    payload = method(sig, b'args')
    assert inbound.feed((METHOD, 1, payload), (HEADER, 1, header(0))) == [False, True]
    ((channel, found, args, content),) = inbound.methods
    assert (channel, found, args) == (1, sig, payload)
    assert (content.body, content.frame_method, content.frame_args) == (b'', sig, payload)
    assert content.ready


def test_content_of_a_channel_that_is_not_there_is_refused_before_it_is_taken_in():
    inbound = Inbound()
    with pytest.raises(ChannelNotOpen, match='channel 9') as caught:
        inbound.feed((METHOD, 9, method(DELIVER)))
    assert caught.value.method_sig == DELIVER
    # Methods without content are the connection's to judge.
    assert inbound.feed((METHOD, 9, method(spec.Channel.CloseOk))) == [True]


def test_the_methods_that_carry_content_are_those_of_the_table():
    expected = {sig for sig, each in spec.METHODS.items() if each.content}
    assert expected - {spec.Basic.Publish} == CONTENT_METHODS


@pytest.mark.parametrize(
    'parts', [[b'hello'], [b'he', b'llo'], [b'h', b'', b'e', b'l', b'l', b'o']]
)
def test_a_body_in_any_number_of_frames(parts):
    inbound = Inbound()
    completed = inbound.feed(
        (METHOD, 1, method(DELIVER)),
        (HEADER, 1, header(5, properties=b'\x80\0\x04text')),
        *[(BODY, 1, part) for part in parts],
    )
    assert completed == [False] * (len(parts) + 1) + [True]
    content = inbound.methods[0][3]
    assert (content.body, content.properties) == (b'hello', {'content_type': 'text'})


def test_channels_and_heartbeats_interleave():
    inbound = Inbound()
    completed = inbound.feed(
        (METHOD, 1, method(DELIVER)),
        (METHOD, 2, method(DELIVER)),
        (HEARTBEAT, 0, b''),
        (HEADER, 2, header(2)),
        (HEADER, 1, header(4)),
        (BODY, 1, b'on'),
        (METHOD, 3, method(spec.Channel.CloseOk)),
        (BODY, 2, b'ab'),
        (BODY, 1, b'e!'),
        (METHOD, 1, method(DELIVER)),
        (HEADER, 1, header(0)),
    )
    assert completed == [False] * 6 + [True, True, True, False, True]
    assert inbound.methods[0][0] == 3
    assert [(each[0], each[3].body) for each in inbound.methods[1:]] == [
        (2, b'ab'),
        (1, b'one!'),
        (1, b''),
    ]


DELIVERED = [(METHOD, 1, method(DELIVER)), (HEADER, 1, header(9))]


@pytest.mark.parametrize(
    ('frames', 'error', 'text'),
    [
        ([(METHOD, 4, b'\0\x0a\0')], FrameSyntaxError, 'method frame of 3 octets on channel 4'),
        ([(METHOD, 4, b'')], FrameSyntaxError, 'method frame of 0 octets on channel 4'),
        ([(METHOD, 0, method(DELIVER))], UnexpectedFrame, 'content on channel 0'),
        ([(HEADER, 1, header(0))], UnexpectedFrame, 'header without a method on channel 1'),
        ([*DELIVERED, (HEADER, 1, header(0))], UnexpectedFrame, 'header without a method'),
        ([(BODY, 1, b'x')], UnexpectedFrame, 'body without a header on channel 1'),
        ([DELIVERED[0], (BODY, 1, b'x')], UnexpectedFrame, 'body without a header'),
        ([*DELIVERED, (BODY, 2, b'x')], UnexpectedFrame, 'body without a header on channel 2'),
        ([DELIVERED[0], (HEADER, 1, b'\0\x3c' + b'\0' * 11)], FrameSyntaxError, 'of 13 octets'),
        (
            [DELIVERED[0], (HEADER, 1, header(0, class_id=85))],
            FrameSyntaxError,
            'content of class 85 follows',
        ),
        ([*DELIVERED, (BODY, 1, b'x' * 10)], FrameError, 'of 10 octets .* announced 9'),
        (
            [*DELIVERED, (BODY, 1, b'x' * 6), (BODY, 1, b'x' * 4)],
            FrameError,
            'of 10 octets .* announced 9',
        ),
        (
            [DELIVERED[0], (METHOD, 1, method(spec.Channel.Close))],
            UnexpectedFrame,
            r'method \(20, 40\) on channel 1, where a content header should come',
        ),
        (
            [*DELIVERED, (BODY, 1, b'abc'), (METHOD, 1, method(DELIVER))],
            UnexpectedFrame,
            'where 6 octets of a body should come',
        ),
        ([(HEARTBEAT, 1, b'')], FrameError, 'heartbeat on channel 1'),
    ],
)
def test_a_broken_grammar(frames, error, text):
    inbound = Inbound()
    *before, last = frames
    inbound.feed(*before)
    with pytest.raises(error, match=text):
        inbound.feed(last)
    assert inbound.methods == []


def test_a_body_above_the_limit_is_refused_by_its_header():
    inbound = Inbound(max_message_size=100)
    inbound.feed((METHOD, 1, method(DELIVER)), (HEADER, 1, header(100)), (BODY, 1, b'x' * 100))
    assert len(inbound.methods) == 1
    inbound.feed((METHOD, 1, method(DELIVER)))
    with pytest.raises(FrameError, match=r'message of 101 octets .* max_message_size is 100'):
        inbound.feed((HEADER, 1, header(101)))


def test_other_content_methods_can_be_named():
    inbound = Inbound(content_methods=frozenset([spec.Basic.Publish]))
    assert inbound.feed((METHOD, 1, method(DELIVER))) == [True]
    assert inbound.feed((METHOD, 1, method(spec.Basic.Publish))) == [False]


# -- out


class Outbound:
    """A frame writer, and what it has written."""

    def __init__(self, frame_max=4096):
        self.writes = []
        self.deadlines = []
        self.write = frame_writer(SimpleNamespace(frame_max=frame_max), self)

    def write_all(self, parts, deadline=None):
        self.parts = list(parts)
        self.writes.append(b''.join(bytes(part) for part in parts))
        self.deadlines.append(deadline)

    def publish(self, message, args=b'\0\0\0\0\0', channel=1):
        self.write(METHOD, channel, spec.Basic.Publish, args, message)
        return frames_of(self.writes[-1])


def frames_of(stream):
    """The frames of a stream, as an independent parser reads them."""
    found = []
    while stream:
        size, channel, frame = pamqp_frame.unmarshal(stream)
        found.append((channel, frame, size))
        stream = stream[size:]
    return found


def test_a_method_is_one_write():
    outbound = Outbound()
    outbound.write(METHOD, 7, spec.Channel.CloseOk, b'', None)
    assert outbound.writes == [b'\x01\x00\x07\x00\x00\x00\x04\x00\x14\x00\x29\xce']


def test_a_method_with_arguments():
    outbound = Outbound()
    outbound.write(METHOD, 1, spec.Basic.Qos, b'\0\0\0\0\0\x0a\0', None)
    ((channel, frame, _),) = frames_of(outbound.writes[0])
    assert channel == 1
    assert isinstance(frame, commands.Basic.Qos)
    assert frame.prefetch_count == 10


def test_arguments_may_be_left_out():
    outbound = Outbound()
    outbound.write(METHOD, 1, spec.Tx.Select, None, None)
    assert isinstance(frames_of(outbound.writes[0])[0][1], commands.Tx.Select)


def test_a_heartbeat():
    outbound = Outbound()
    outbound.write(HEARTBEAT, 0, None, None, None)
    assert outbound.writes == [b'\x08\x00\x00\x00\x00\x00\x00\xce']


def test_a_message_is_one_write():
    outbound = Outbound()
    found = outbound.publish(Message('hé', content_type='text/plain', priority=3), channel=5)
    assert len(outbound.writes) == 1
    assert [type(frame) for _, frame, _ in found] == [
        commands.Basic.Publish,
        ContentHeader,
        ContentBody,
    ]
    assert {channel for channel, _, _ in found} == {5}
    assert found[1][1].body_size == 3
    assert found[1][1].properties.content_type == 'text/plain'
    assert found[1][1].properties.content_encoding == 'utf-8'
    assert found[1][1].properties.priority == 3
    assert found[2][1].value == 'hé'.encode()


def test_an_empty_body_has_no_frame():
    assert len(Outbound().publish(Message(b''))) == 2
    assert len(Outbound(frame_max=0).publish(Message(b''))) == 2


@pytest.mark.parametrize('frame_max', [4096, 8192, 131_072])
@pytest.mark.parametrize('over', range(-9, 2))
def test_no_frame_exceeds_frame_max(frame_max, over):
    body = bytes(range(256)) * (frame_max // 256 + 1)
    body = body[: frame_max + over]
    found = Outbound(frame_max).publish(Message(body))
    bodies = [frame.value for _, frame, _ in found[2:]]
    assert b''.join(bodies) == body
    assert len(bodies) == (1 if over <= -8 else 2)
    assert max(size for _, _, size in found) <= frame_max


@given(size=st.integers(0, 50_000), frame_max=st.sampled_from([0, 4096, 5000, 8192]))
def test_bodies_come_out_as_they_went_in(size, frame_max):
    body = bytes(each % 251 for each in range(size))
    inbound, outbound = Inbound(), Outbound(frame_max)
    outbound.write(METHOD, 1, DELIVER, b'', Message(body))
    stream = outbound.writes[0]
    while stream:
        kind, channel, length = struct.unpack_from('>BHI', stream)
        inbound.feed((kind, channel, stream[7 : 7 + length]))
        assert stream[7 + length] == 206
        stream = stream[8 + length :]
    assert inbound.bodies() == [(1, body)]


def test_without_a_limit_a_body_is_one_frame():
    found = Outbound(frame_max=0).publish(Message(b'x' * 300_000))
    assert [len(frame.value) for _, frame, _ in found[2:]] == [300_000]


def test_a_large_body_is_cut_by_views_and_not_copied():
    outbound = Outbound(4096)
    body = bytearray(b'x' * 10_000)
    outbound.publish(Message(body))
    assert [each.obj for each in outbound.parts if isinstance(each, memoryview)] == [body] * 3


@pytest.mark.parametrize('size', [4085, 5000])
def test_arguments_too_long_for_a_frame(size):
    outbound = Outbound(4096)
    with pytest.raises(EncodeError, match=f'Queue.Declare: its arguments take {size} octets'):
        outbound.write(METHOD, 1, spec.Queue.Declare, b'x' * size, None)
    with pytest.raises(EncodeError, match=r'\(9, 9\): its arguments'):
        outbound.write(METHOD, 1, (9, 9), b'x' * size, None)
    assert outbound.writes == []


def test_arguments_that_just_fit():
    outbound = Outbound(4096)
    outbound.write(METHOD, 1, spec.Queue.Declare, b'x' * 4084, None)
    assert len(outbound.writes[0]) == 4096


def test_properties_too_long_for_a_frame():
    outbound = Outbound(4096)
    with pytest.raises(EncodeError, match=r'properties take .* frame_max 4096 is too small'):
        outbound.publish(Message(b'', application_headers={'k': 'x' * 4096}))
    assert outbound.writes == []


def test_properties_that_just_fit():
    # flags 2, table: length 4, name 2, type 1, length 4; frame header etc. 20
    fits = 4096 - 20 - 13
    found = Outbound(4096).publish(Message(b'', application_headers={'k': 'x' * fits}))
    assert found[1][2] == 4096
    with pytest.raises(EncodeError):
        Outbound(4096).publish(Message(b'', application_headers={'k': 'x' * (fits + 1)}))


def test_a_body_that_is_none_stops_everything():
    outbound = Outbound()
    with pytest.raises(EncodeError, match='int is neither bytes nor str'):
        outbound.publish(Message(5))
    assert outbound.writes == []


def test_a_timeout_becomes_a_deadline():
    outbound = Outbound()
    outbound.write(HEARTBEAT, 0, None, None, None, 30)
    outbound.write(HEARTBEAT, 0, None, None, None, None)
    bounded, unbounded = outbound.deadlines
    assert 29 < bounded.at - time.monotonic() <= 30
    assert bounded.at < inf
    assert unbounded is None
