"""Heartbeats: a dead peer is noticed in time, a live one never taken for dead."""

from __future__ import annotations

import threading
import time

import pytest
from pamqp import commands
from pamqp.heartbeat import Heartbeat

import amqp
from amqp import Message
from t.helpers.peer import delivery

from .support import LOST, SOON, Background, ends_within, readable

#: Two intervals of a second, and generous slack.
TWO_INTERVALS = 6.0


def test_drain_ends_on_a_silent_peer(peer, connect):
    peer.serve(handshake={'heartbeat': 1}, heartbeats=False)
    connection = connect(heartbeat=1)
    connection.channel()
    began = time.monotonic()
    with ends_within(TWO_INTERVALS), pytest.raises(LOST, match='heartbeat'):
        connection.drain_events()
    assert time.monotonic() - began > 1.0
    assert not connection.connected
    assert peer.wire().seen(Heartbeat, 2)


def test_wait_for_a_reply_ends_on_a_silent_peer(peer, connect):
    peer.serve(handshake={'heartbeat': 1}, heartbeats=False, mute=[commands.Queue.Declare])
    connection = connect(heartbeat=1, rpc_timeout=60)
    channel = connection.channel()
    with ends_within(TWO_INTERVALS), pytest.raises(LOST):
        channel.queue_declare('q')
    assert not connection.connected


def test_wait_for_a_confirm_ends_on_a_silent_peer(peer, connect):
    peer.serve(handshake={'heartbeat': 1}, heartbeats=False, confirms=False)
    channel = connect(heartbeat=1, rpc_timeout=60, confirm_publish=True).channel()
    with ends_within(TWO_INTERVALS), pytest.raises(LOST):
        channel.basic_publish(Message('x'))


def test_peer_that_stops_reading_is_noticed_while_writing(connect, small_window_peer):
    small_window_peer.serve(handshake={'heartbeat': 1}, heartbeats=False)
    connection = connect(small_window_peer.host, heartbeat=1)
    channel = connection.channel()
    small_window_peer.wire().pause()
    with ends_within(2 * TWO_INTERVALS), pytest.raises(LOST):
        channel.basic_publish(Message(b'x' * 30_000_000))
    assert not connection.connected


def test_wait_on_a_live_peer_outlasts_many_intervals(peer, connect):
    """A blocking wait sends heartbeats by itself, and takes in those of the peer."""
    peer.serve(handshake={'heartbeat': 1})
    connection = connect(heartbeat=1)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=3.5)
    assert connection.connected
    assert len(peer.wire().seen(Heartbeat, 3)) >= 3


def test_ticking_alone_survives_while_data_waits_unread(peer, connect):
    """A loop that only ticks, with deliveries unread in the kernel: no false alarm."""
    peer.serve(handshake={'heartbeat': 1})
    connection = connect(heartbeat=1)
    connection.channel()
    peer.wire().send_raw(*[delivery(1, delivery_tag=n, body=b'x' * 100) for n in range(1, 20)])
    readable(connection)
    pace, end = threading.Event(), time.monotonic() + 4
    while time.monotonic() < end:
        connection.heartbeat_tick()
        pace.wait(0.1)
    assert connection.connected
    assert len(peer.wire().seen(Heartbeat, 3)) >= 3


@pytest.mark.parametrize('unread', [False, True], ids=['all read', 'a delivery unread'])
def test_tick_notices_a_silent_peer(peer, connect, unread):
    peer.serve(handshake={'heartbeat': 1}, heartbeats=False)
    connection = connect(heartbeat=1)
    if unread:
        connection.channel()
        peer.wire().send_raw(delivery(1, delivery_tag=1, body=b'x'))
        readable(connection)

    def tick():
        pace = threading.Event()
        while True:
            connection.heartbeat_tick(rate=2)
            pace.wait(0.1)

    with ends_within(TWO_INTERVALS), pytest.raises(amqp.ConnectionForced, match='heartbeats'):
        tick()
    assert not connection.connected
    with pytest.raises(LOST):
        connection.drain_events(timeout=0)


def test_one_late_look_does_not_condemn_a_live_peer(peer, connect):
    """Nobody looked for three intervals, though the peer has beaten all the while."""
    peer.serve(handshake={'heartbeat': 1})
    connection = connect(heartbeat=1)
    wire = peer.wire()
    pace = threading.Event()
    for _ in range(6):
        wire.heartbeat()
        pace.wait(0.5)
    connection.heartbeat_tick()
    assert connection.connected


@pytest.mark.parametrize(
    ('client', 'server', 'agreed'),
    [(0, 60, 0), (60, 0, 60), (10, 60, 10), (60, 10, 10), (None, 60, 0), (2.5, 60, 3), (0, 0, 0)],
)
def test_negotiation(peer, connect, client, server, agreed):
    peer.serve(handshake={'heartbeat': server})
    connection = connect(heartbeat=client)
    assert peer.wire().seen(commands.Connection.TuneOk)[0].heartbeat == agreed
    assert agreed - 1 < connection.heartbeat <= agreed  # the wire has whole seconds only
    assert connection.server_heartbeat == server


def test_no_heartbeats_where_none_are_agreed(peer, connect):
    peer.serve(handshake={'heartbeat': 1})
    connection = connect(heartbeat=0)
    connection.heartbeat_tick()
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=1.2)
    connection.channel()
    assert not [frame for _, frame in peer.wire().received if isinstance(frame, Heartbeat)]


def test_send_heartbeat_is_a_probe(peer, connect):
    peer.serve()
    connection = connect()
    connection.send_heartbeat()
    wire = peer.wire()
    wire.seen(Heartbeat)
    wire.reset()
    readable(connection)
    with pytest.raises(LOST):
        connection.send_heartbeat()
    assert not connection.connected


def test_heartbeats_of_a_thread_never_fall_inside_a_message(peer, connect):
    peer.serve(heartbeats=False)
    connection = connect(frame_max=4096)
    channel = connection.channel()
    stop = threading.Event()

    def beat():
        while not stop.is_set():
            connection.send_heartbeat()

    background = Background(beat)
    body = b'x' * 50_000
    try:
        for _ in range(50):
            channel.basic_publish(Message(body))
        messages = peer.wire().messages(50)
    finally:
        stop.set()
        background.result()
    assert all(message.body == body for message in messages)


def test_heartbeat_on_another_channel_is_an_error(peer, connect):
    peer.serve()
    connection = connect()
    peer.wire().send_raw(b'\x08\x00\x01\x00\x00\x00\x00\xce')
    with ends_within(SOON), pytest.raises(amqp.FrameError):
        connection.drain_events(timeout=SOON)
