"""Sizes: bodies around frame_max in both directions, limits negotiated and enforced."""

from __future__ import annotations

import pytest
from pamqp import commands
from pamqp.header import ContentHeader

import amqp
from amqp import Message
from t.helpers.peer import BODY, HEADER, content, delivery, marshal, raw_frame

from .support import SOON, Background, drain_until

OVERHEAD = 8
FRAME_MAXES = [4096, 8192, 131_072]
AROUND = [-9, -8, -7, -1, 0, 1]


@pytest.mark.parametrize('frame_max', FRAME_MAXES)
@pytest.mark.parametrize('times', [1, 2])
@pytest.mark.parametrize('offset', AROUND)
def test_published_body(peer, connect, frame_max, times, offset):
    peer.serve(handshake={'frame_max': frame_max})
    channel = connect().channel()
    body = bytes(i % 251 for i in range(times * frame_max + offset))
    channel.basic_publish(Message(body), routing_key='q')
    [message] = peer.wire().messages(1)
    room = frame_max - OVERHEAD
    assert message.body == body
    assert message.header.body_size == len(body)
    assert max(message.body_frames) <= room
    assert len(message.body_frames) == -(-len(body) // room)


@pytest.mark.parametrize('frame_max', FRAME_MAXES)
def test_received_body(peer, connect, frame_max):
    peer.serve(handshake={'frame_max': frame_max})
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg.body))
    bodies = [
        bytes(i % 251 for i in range(times * frame_max + offset))
        for times in (1, 2)
        for offset in AROUND
    ]
    for body in bodies:
        peer.wire().deliver(1, body=body, frame_max=frame_max)
        connection.drain_events(timeout=SOON)
        assert got.pop() == body


def test_empty_message_both_ways(peer, connect):
    """A message without a body has no body frame."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg.body))
    channel.basic_publish(Message(b''), routing_key='q')
    channel.basic_publish(Message(), routing_key='q')
    messages = peer.wire().messages(2)
    assert [message.body_frames for message in messages] == [(), ()]
    peer.wire().deliver(1, body=b'')
    connection.drain_events(timeout=SOON)
    assert got == [b'']


def test_large_body_both_ways(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg.body))
    body = bytes(range(256)) * 20_000
    channel.basic_publish(Message(body), routing_key='q')
    assert peer.wire().messages(1)[0].body == body
    sending = Background(peer.wire().deliver, 1, body=body)
    drain_until(connection, lambda: got)
    sending.result()
    assert got == [body]


@pytest.mark.parametrize(
    ('ours', 'theirs', 'agreed'),
    [
        (None, 131_072, 131_072),
        (131_072, 8192, 8192),
        (8192, 131_072, 8192),
        (4096, 4096, 4096),
        (8192, 0, 8192),
        (0, 8192, 8192),
        (None, 1_000_000, 131_072),
    ],
)
def test_frame_max_is_the_lower_of_both(peer, connect, ours, theirs, agreed):
    peer.serve(handshake={'frame_max': theirs})
    connection = connect(frame_max=ours)
    assert peer.wire().seen(commands.Connection.TuneOk)[0].frame_max == agreed
    assert connection.frame_max == agreed
    channel = connection.channel()
    channel.basic_publish(Message(b'x' * (2 * agreed)), routing_key='q')
    assert max(peer.wire().messages(1)[0].body_frames) == agreed - OVERHEAD


@pytest.mark.parametrize(
    ('ours', 'theirs', 'agreed'),
    [(None, 2047, 2047), (10, 2047, 10), (2047, 10, 10), (7, 0, 7), (0, 7, 7)],
)
def test_channel_max_is_the_lower_of_both(peer, connect, ours, theirs, agreed):
    peer.serve(handshake={'channel_max': theirs})
    connection = connect(channel_max=ours)
    assert peer.wire().seen(commands.Connection.TuneOk)[0].channel_max == agreed
    if agreed > 100:
        return
    channels = [connection.channel() for _ in range(agreed)]
    assert {channel.channel_id for channel in channels} == set(range(1, agreed + 1))
    with pytest.raises(amqp.ConnectionError, match='channel'):
        connection.channel()
    channels[0].close()
    assert connection.channel().queue_purge('q') == 0


def test_frame_above_frame_max_is_refused_before_it_comes(peer, connect):
    """Its header is enough: no memory is taken, nobody waits for the rest."""
    peer.serve(handshake={'frame_max': 4096})
    connection = connect()
    connection.channel()
    peer.wire().send_raw(raw_frame(BODY, 1, b'', size=4096 - OVERHEAD + 1)[:7])
    with pytest.raises(amqp.FrameError, match='4097'):
        connection.drain_events(timeout=SOON)
    assert not connection.connected


def test_frame_of_just_frame_max_is_accepted(peer, connect):
    peer.serve(handshake={'frame_max': 4096})
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg.body))
    body = b'x' * (4096 - OVERHEAD)
    stream = delivery(1, body=body, frame_max=4096)
    assert len(stream) > 4096
    peer.wire().send_raw(stream)
    connection.drain_events(timeout=SOON)
    assert got == [body]


def test_huge_frame_size_takes_no_memory(peer, connect):
    peer.serve()
    connection = connect()
    connection.channel()
    peer.wire().send_raw(b'\x03\x00\x01\xff\xff\xff\xff')
    with pytest.raises(amqp.FrameError):
        connection.drain_events(timeout=SOON)


@pytest.mark.parametrize('announced', [1001, 2**40, 2**63, 2**64 - 1])
def test_body_above_max_message_size_is_refused_by_its_header(peer, connect, announced):
    peer.serve()
    connection = connect(max_message_size=1000)
    connection.channel()
    header = raw_frame(HEADER, 1, b'\x00\x3c\x00\x00' + announced.to_bytes(8, 'big') + b'\x00\x00')
    peer.wire().send_raw(marshal(1, commands.Basic.Deliver('tag', 1, False, '', 'k')), header)
    with pytest.raises(amqp.FrameError, match='max_message_size'):
        connection.drain_events(timeout=SOON)
    assert not connection.connected


def test_body_of_just_max_message_size_is_accepted(peer, connect):
    peer.serve()
    connection = connect(max_message_size=1000)
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg.body))
    peer.wire().deliver(1, body=b'x' * 1000)
    connection.drain_events(timeout=SOON)
    assert got == [b'x' * 1000]


def test_header_that_exceeds_frame_max_is_refused_unsent(peer, connect):
    """A content header can't be split (specification 4.2.6.1)."""
    peer.serve(handshake={'frame_max': 4096})
    connection = connect()
    channel = connection.channel()
    with pytest.raises(amqp.EncodeError, match='properties'):
        channel.basic_publish(Message('x', application_headers={'k': 'x' * 5000}))
    with pytest.raises(amqp.EncodeError, match='frame_max'):
        channel.queue_declare('q', arguments={'k': 'x' * 5000})
    assert channel.queue_purge('q') == 0
    assert not [frame for _, frame in peer.wire().received if isinstance(frame, ContentHeader)]


def test_frames_of_other_channels_between_body_frames(peer, connect):
    """Content of two channels may interleave frame by frame (4.2.6)."""
    peer.serve()
    connection = connect()
    got = {}
    for number in (1, 2):
        connection.channel().basic_consume(
            'q', f'tag{number}', no_ack=True, callback=lambda msg, n=number: got.update({n: msg})
        )
    deliver = commands.Basic.Deliver
    one = content(1, deliver('tag1', 1, False, '', 'k'), b'1' * 30, frame_max=18)
    two = content(2, deliver('tag2', 1, False, '', 'k'), b'2' * 30, frame_max=18)
    peer.wire().send_raw(*[part for pair in zip(one, two, strict=True) for part in pair])
    drain_until(connection, lambda: len(got) == 2)
    assert {number: msg.body for number, msg in got.items()} == {1: b'1' * 30, 2: b'2' * 30}


@pytest.mark.parametrize('frame_max', [1, 100, 4095])
def test_frame_max_below_the_least_is_refused(peer, frame_max):
    with pytest.raises(ValueError, match='4096'):
        amqp.Connection(peer.host, frame_max=frame_max)


def test_method_frame_may_fill_frame_max(peer, connect):
    peer.serve(handshake={'frame_max': 4096})
    connection = connect()
    channel = connection.channel()
    base = len(marshal(1, commands.Queue.Declare(queue='q', arguments={'k': ''})))
    channel.queue_declare('q', arguments={'k': 'x' * (4096 - base)})
    declare = peer.wire().seen(commands.Queue.Declare)[0]
    assert len(declare.arguments['k']) == 4096 - base
    with pytest.raises(amqp.EncodeError):
        channel.queue_declare('q', arguments={'k': 'x' * (4096 - base + 1)})
