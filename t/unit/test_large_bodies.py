"""Bodies of any size in frames of any size, over both kinds of stream, as callbacks get them."""

from __future__ import annotations

import random
import ssl
import tracemalloc

import pytest
import trustme
from pamqp import commands

import amqp
from t.helpers.peer import Peer, content, delivery
from t.helpers.threads import SOON, Background

MIB = 1024 * 1024
SIZES = [1, 4087, 4088, 4089, 8191, 8192, 8193, 65_527, 65_528, 65_529, 131_064, 131_065, 300_000]


@pytest.fixture(scope='module')
def tls(tmp_path_factory):
    """Both sides' contexts."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('127.0.0.1').configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.fixture(params=['tcp', 'tls'])
def connection(request):
    """One whose peer takes what is sent to it."""
    options = {}
    server = None
    if request.param == 'tls':
        server, options['ssl'] = request.getfixturevalue('tls')
    with Peer(tls=server) as peer:
        peer.serve()
        connection = amqp.Connection(peer.host, connect_timeout=SOON, rpc_timeout=SOON, **options)
        connection.connect()
        yield connection, peer.wire()
        connection.collect()


def octets(number, size):
    return random.Random(number).randbytes(size)


def consume(connection, count):
    """Channels with a consumer each, and what all of them get."""
    got = []
    for _ in range(count):
        channel = connection.channel()

        def callback(message):
            body = message.body
            assert type(body) is bytes
            got.append((message.channel.channel_id, message.delivery_tag, body))

        channel.basic_consume('q', 'tag', callback=callback, no_ack=True)
    return got


def drain(connection, got, count):
    while len(got) < count:
        connection.drain_events(timeout=SOON)


@pytest.mark.parametrize('frame_max', [4096, 8200, 65_536, 131_072])
def test_any_size(connection, frame_max):
    connection, wire = connection
    got = consume(connection, 1)
    stream = b''.join(
        delivery(1, 'tag', size, octets(size, size), frame_max=frame_max) for size in SIZES
    )
    sending = Background(wire.send_raw, stream)
    drain(connection, got, len(SIZES))
    sending.result()
    assert got == [(1, size, octets(size, size)) for size in SIZES]


@pytest.mark.parametrize('seed', range(6))
def test_cut_anywhere(connection, seed):
    connection, wire = connection
    rng = random.Random(seed)
    sizes = [rng.choice(SIZES) for _ in range(12)]
    stream = b''.join(
        delivery(
            1, 'tag', number, octets(number, size), frame_max=rng.choice((4096, 9000, 131_072))
        )
        for number, size in enumerate(sizes)
    )

    def send():
        at = 0
        while at < len(stream):
            step = rng.choice((1, 7, 8, 9, 100, 4096, 5000, 70_000, 200_000))
            wire.send_raw(stream[at : at + step])
            at += step

    got = consume(connection, 1)
    sending = Background(send)
    drain(connection, got, len(sizes))
    sending.result()
    assert got == [(1, number, octets(number, size)) for number, size in enumerate(sizes)]


@pytest.mark.parametrize('seed', range(4))
def test_channels_interleaved(connection, seed):
    """Frames of several channels in any order, heartbeats between them."""
    connection, wire = connection
    rng = random.Random(seed)
    expected, waiting = {}, {}
    for channel in range(1, 5):
        for number in range(4):
            body = octets(channel * 10 + number, rng.choice(SIZES))
            expected.setdefault(channel, []).append((channel, number, body))
            method = commands.Basic.Deliver('tag', number, False, '', 'key')
            frame_max = rng.choice((4096, 20_000, 131_072))
            waiting.setdefault(channel, []).extend(
                content(channel, method, body, frame_max=frame_max)
            )
    stream = []
    while waiting:
        channel = rng.choice(sorted(waiting))
        stream.append(waiting[channel].pop(0))
        if not waiting[channel]:
            del waiting[channel]
        if rng.random() < 0.1:
            stream.append(b'\x08\x00\x00\x00\x00\x00\x00\xce')
    got = consume(connection, 4)
    sending = Background(wire.send_raw, b''.join(stream))
    drain(connection, got, 16)
    sending.result()
    assert {
        channel: [each for each in got if each[0] == channel] for channel in expected
    } == expected


def test_a_large_one_takes_its_own_size_and_little_more(connection):
    connection, wire = connection
    size = 64 * MIB
    bodies = []
    channel = connection.channel()
    channel.basic_consume(
        'q', 'tag', callback=lambda message: bodies.append(message.body), no_ack=True
    )
    piece = b'x' * (131_072 - 8)
    head = content(1, commands.Basic.Deliver('tag', 1, False, '', 'key'), b'')[0]
    count, rest = divmod(size, len(piece))

    def send():
        wire.send_raw(head)
        wire.send_raw(b'\x02\x00\x01\x00\x00\x00\x0e\x00\x3c\x00\x00' + size.to_bytes(8, 'big'))
        wire.send_raw(b'\x00\x00\xce')
        frame = b'\x03\x00\x01' + len(piece).to_bytes(4, 'big') + piece + b'\xce'
        for _ in range(count):
            wire.send_raw(frame)
        wire.send_raw(b'\x03\x00\x01' + rest.to_bytes(4, 'big') + piece[:rest] + b'\xce')

    tracemalloc.start()
    try:
        sending = Background(send)
        drain(connection, bodies, 1)
        sending.result()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(bodies[0]) == size
    assert bodies[0].count(b'x') == size
    assert peak < 1.1 * size
