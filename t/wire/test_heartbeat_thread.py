"""The thread that keeps heartbeats up: it beats beside a callback, reads nothing, and ends."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref

import pytest
from pamqp import commands
from pamqp.heartbeat import Heartbeat

import amqp
from amqp import Message
from amqp.heartbeat_thread import HeartbeatThread
from amqp.method_framing import frame_writer
from t.helpers.threads import until

from .support import LOST, SOON, Background, ends_within, readable, unread

#: Two intervals of a second, and generous slack.
TWO_INTERVALS = 6.0


def beating():
    """The threads that beat."""
    return [thread for thread in threading.enumerate() if thread.name == 'amqp heartbeat']


@pytest.fixture(autouse=True)
def none_is_left():
    assert not beating()
    yield
    until(lambda: not beating())


def test_a_callback_that_outlasts_many_intervals(peer, connect):
    """The broker hears of us all the while, and then gets the acknowledgement."""
    peer.serve(handshake={'heartbeat': 1})
    connection = connect(heartbeat=1, heartbeat_thread=True)
    channel = connection.channel()
    wire = peer.wire()

    def compute(message):
        # One each half a second: without the thread there would come none.
        wire.seen(Heartbeat, 8)
        message.channel.basic_ack(message.delivery_tag)

    channel.basic_consume('q', 'tag', callback=compute)
    wire.deliver(1, 'tag', 1, b'x')
    connection.drain_events(timeout=SOON)
    assert wire.seen(commands.Basic.Ack)
    assert connection.connected
    assert channel.queue_declare('q').queue == 'q'


def test_a_peer_that_dies_during_a_callback(peer, connect):
    """Whoever waits is woken, the callback's acknowledgement says why, and so does the drain."""
    peer.serve(handshake={'heartbeat': 1}, heartbeats=False, confirms=False)
    connection = connect(heartbeat=1, heartbeat_thread=True)
    channel = connection.channel()
    errors = []

    def compute(message):
        until(lambda: not connection.connected)
        with pytest.raises(LOST) as caught:
            message.channel.basic_ack(message.delivery_tag)
        errors.append(caught.value)

    channel.basic_consume('q', 'tag', callback=compute)
    peer.wire().deliver(1, 'tag', 1, b'x')
    with ends_within(TWO_INTERVALS):
        connection.drain_events(timeout=SOON)
    assert isinstance(errors[0].__cause__, amqp.ConnectionForced)
    assert 'heartbeats' in str(errors[0].__cause__)
    with pytest.raises(LOST):
        connection.drain_events(timeout=0)


def test_nothing_is_read(peer, connect):
    """What lies in the kernel stays there for an event loop to see."""
    peer.serve(handshake={'heartbeat': 1})
    connection = connect(heartbeat=1, heartbeat_thread=True)
    connection.channel()
    wire = peer.wire()
    wire.deliver(1, 'tag', 1, b'x')
    readable(connection)
    received = connection.bytes_recv
    wire.seen(Heartbeat, 6)
    assert connection.bytes_recv == received
    assert unread(connection)
    assert connection.connected


@pytest.mark.parametrize('end', ['close', 'collect', 'eof', 'reset', 'stop'])
def test_it_ends_with_the_connection(peer, connect, end):
    peer.serve(handshake={'heartbeat': 60})
    connection = amqp.Connection(peer.host, heartbeat=60, heartbeat_thread=True)
    assert not beating()
    connection.connect()
    assert len(beating()) == 1
    channel = connection.channel()
    wire = peer.wire()
    if end in ('eof', 'reset'):
        getattr(wire, end)()
        readable(connection)
        with pytest.raises(LOST):
            channel.queue_declare('q')
    elif end == 'stop':
        connection.stop_heartbeat_thread()
        assert not beating()
        connection.stop_heartbeat_thread()
        assert channel.queue_declare('q').queue == 'q'
        connection.close()
    else:
        getattr(connection, end)()
    until(lambda: not beating())
    connection.collect()


@pytest.mark.filterwarnings('ignore:unclosed:ResourceWarning')
def test_it_ends_with_a_connection_that_is_forgotten(peer):
    peer.serve(handshake={'heartbeat': 60})
    connection = amqp.Connection(peer.host, heartbeat=60, heartbeat_thread=True)
    connection.connect()
    connection.channel()
    assert len(beating()) == 1
    gone = weakref.ref(connection)
    del connection
    gc.collect()
    until(lambda: not beating())
    assert gone() is None


@pytest.mark.parametrize('options', [{'heartbeat': 60}, {'heartbeat': 0, 'heartbeat_thread': True}])
def test_there_is_none_by_default_and_none_without_heartbeats(peer, connect, options):
    peer.serve(handshake={'heartbeat': 60})
    connection = connect(**options)
    assert not beating()
    connection.stop_heartbeat_thread()
    if not connection.heartbeat:
        connection.start_heartbeat_thread()
        assert not beating()


def test_it_is_started_and_stopped_at_will(peer, connect):
    peer.serve(handshake={'heartbeat': 1})
    connection = connect(heartbeat=1)
    for count in (2, 4):
        threads = [Background(connection.start_heartbeat_thread) for _ in range(4)]
        for thread in threads:
            thread.result()
        assert len(beating()) == 1
        peer.wire().seen(Heartbeat, count)
        connection.stop_heartbeat_thread()
        assert not beating()


def test_a_connection_that_is_not_open_has_none(peer, connect):
    connection = amqp.Connection(peer.host, heartbeat=1)
    with pytest.raises(LOST, match='connect'):
        connection.start_heartbeat_thread()
    connection.stop_heartbeat_thread()
    peer.serve(handshake={'heartbeat': 1})
    connection.connect()
    connection.close()
    with pytest.raises(LOST):
        connection.start_heartbeat_thread()


def test_a_thread_that_cannot_be_started_fails_the_connect(peer, monkeypatch):
    peer.serve(handshake={'heartbeat': 1})

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr('amqp.heartbeat_thread.HeartbeatThread.start', refuse)
    connection = amqp.Connection(peer.host, heartbeat=1, heartbeat_thread=True)
    with pytest.raises(RuntimeError, match='new thread'):
        connection.connect()
    assert not connection.connected


def test_an_end_between_the_look_and_the_start(peer, connect, monkeypatch):
    """Another thread collects the connection when this one has seen that it is open."""
    peer.serve(handshake={'heartbeat': 1})
    connection = connect(heartbeat=1)

    def make(beat):
        connection.collect()
        return HeartbeatThread(beat)

    monkeypatch.setattr('amqp.writing_connection.HeartbeatThread', make)
    connection.start_heartbeat_thread()
    until(lambda: not beating())


@pytest.mark.parametrize('end', ['collect', 'stop_heartbeat_thread'])
def test_an_end_right_before_the_start(peer, connect, monkeypatch, end):
    peer.serve(handshake={'heartbeat': 1})
    connection = connect(heartbeat=1)
    start = HeartbeatThread.start

    def start_late(self):
        getattr(connection, end)()
        start(self)

    monkeypatch.setattr(HeartbeatThread, 'start', start_late)
    connection.start_heartbeat_thread()
    until(lambda: not beating())


def test_a_frame_writer_that_fails_in_a_way_of_its_own(peer, connect):
    """Nobody keeps such a connection alive any more, and everybody is told so."""
    peer.serve(handshake={'heartbeat': 1}, mute=[commands.Queue.Declare])

    def maker(connection, transport):
        write = frame_writer(connection, transport)

        def write_frame(frame_type, *args):
            if frame_type == 8:
                raise LookupError('no heart')
            return write(frame_type, *args)

        return write_frame

    connection = connect(heartbeat=1, heartbeat_thread=True, frame_writer=maker)
    channel = connection.channel()
    until(lambda: not connection.connected)
    with pytest.raises(LOST) as caught:
        channel.queue_declare('q')
    assert 'no heart' in str(caught.value.__cause__)


def test_it_does_not_hang_behind_a_write_that_stands_still(connect, small_window_peer):
    """Its own write has an end, so that it sees in time that the peer has died."""
    small_window_peer.serve(handshake={'heartbeat': 1}, heartbeats=False)
    connection = connect(small_window_peer.host, heartbeat=1, heartbeat_thread=True)
    channel = connection.channel()
    small_window_peer.wire().pause()
    connection.transport.stall_timeout = 60  # the writer itself would wait for longer
    with ends_within(TWO_INTERVALS):
        publisher = Background(channel.basic_publish, Message(b'x' * 30_000_000))
        assert isinstance(publisher.error(), LOST)
    small_window_peer.wire().resume()


def test_stop_is_bounded_while_a_write_stands_still(connect, small_window_peer):
    small_window_peer.serve(handshake={'heartbeat': 1})
    connection = connect(small_window_peer.host, heartbeat=1, heartbeat_thread=True)
    channel = connection.channel()
    small_window_peer.wire().pause()
    publisher = Background(channel.basic_publish, Message(b'x' * 30_000_000))
    until(lambda: held(connection))
    with ends_within(2.0):
        connection.stop_heartbeat_thread()
    assert not beating()
    connection.collect()
    assert isinstance(publisher.error(), LOST)
    small_window_peer.wire().resume()


def held(connection):
    """Whether some other thread writes."""
    lock = connection.transport._write_lock
    if not lock.acquire(blocking=False):
        return True
    lock.release()
    return False


def test_two_that_look_at_the_same_time(peer, connect):
    """News is told once: the thread that comes second must not take the peer for dead."""
    peer.serve(handshake={'heartbeat': 60})
    connection = connect(heartbeat=60)
    connection.channel()
    peer.wire().deliver(1, 'tag', 1, b'x')
    readable(connection)
    transport, heartbeat = connection.transport, connection._heartbeat
    transport.received_at = heartbeat.last_received = time.monotonic() - 1_000
    has_news, others = transport.has_news, []

    def interrupted():
        answer = has_news()
        if not others:
            others.append(Background(connection.heartbeat_tick))
            others[0].thread.join(0.3)  # it is over by then, unless it waits for us
        return answer

    transport.has_news = interrupted
    connection.heartbeat_tick()
    others[0].result()
    assert connection.connected


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork on this platform')
@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_a_forked_child_has_none(peer, connect):
    """And sends nothing; the parent's goes on."""
    peer.serve(handshake={'heartbeat': 1})
    connection = connect(heartbeat=1, heartbeat_thread=True)
    channel = connection.channel()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = in_child(connection)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    count = len([frame for _, frame in peer.wire().received if isinstance(frame, Heartbeat)])
    peer.wire().seen(Heartbeat, count + 3)
    assert channel.queue_declare('parent').queue == 'parent'
    [declare] = peer.wire().seen(commands.Queue.Declare)
    assert declare.queue == 'parent'


def in_child(connection):
    if beating():
        return 2
    try:
        connection.start_heartbeat_thread()
    except LOST:
        connection.stop_heartbeat_thread()
        connection.collect()
        return 3 if beating() else 0
    return 4
