"""Timers and calls of other threads, within the waits of a connection."""

from __future__ import annotations

import threading
import time

import pytest
from pamqp import commands

import amqp
from t.helpers.threads import SOON, Background, until


def waits(connection):
    """Whether a thread waits for the socket."""
    return bool(connection.transport._waiting)


def drain_until(connection, reached):
    give_up = time.monotonic() + SOON
    while not reached():
        assert time.monotonic() < give_up
        connection.drain_events(timeout=SOON)


# -- timers


def test_timers_run_in_order_one_for_each_drain(connection):
    called = []
    connection.call_later(0.02, lambda: called.append('later'))
    connection.call_later(0, lambda: called.append('first'))
    connection.call_soon_threadsafe(lambda: called.append('second'))
    for count in (1, 2, 3):
        connection.drain_events(timeout=SOON)
        assert len(called) == count
    assert called == ['first', 'second', 'later']
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0)


def test_a_poll_runs_what_is_due_and_no_more(connection):
    called = []
    connection.call_later(3600, lambda: called.append('later'))
    connection.call_later(-1, lambda: called.append('now'))
    connection.drain_events(timeout=0)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0)
    assert called == ['now']


def test_a_timer_that_is_cancelled(connection):
    timer = connection.call_later(0, pytest.fail)
    timer.cancel()
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.01)
    assert not timer.is_pending


class UserError(Exception):
    pass


@pytest.mark.parametrize('error', [UserError, TimeoutError])
def test_what_a_timer_raises_comes_out_and_loses_no_other(connection, error):
    def fail():
        raise error('mine')

    called = []
    connection.call_later(0, fail)
    connection.call_later(0, lambda: called.append(1))
    with pytest.raises(error, match='mine'):
        connection.sleep(SOON)
    connection.drain_events(timeout=0)
    assert called == [1]


def test_deliveries_and_timers_take_turns(connection, channel, wire):
    """However often a timer asks for itself again, and however many messages come."""
    seen = []

    def again():
        seen.append('timer')
        connection.call_later(0, again)

    channel.basic_consume('q', 'tag', callback=lambda message: seen.append('message'), no_ack=True)
    for number in range(1, 11):
        # The odd ones in two frames of a body: they go the long way.
        wire.deliver(1, 'tag', number, b'x' * 9000, frame_max=4096 if number % 2 else 131_072)
    connection.call_later(0, again)
    drain_until(connection, lambda: seen.count('message') == 10)
    assert 9 <= seen.count('timer') <= 30


def test_a_timer_ends_no_other_wait(connection, channel, wire):
    """A wait for a reply runs none."""
    connection.call_later(0, pytest.fail)
    assert channel.queue_declare('q').queue == 'q'


@pytest.mark.parametrize(
    ('call', 'error', 'text'),
    [
        (lambda c: c.call_later('1', print), TypeError, "'delay'"),
        (lambda c: c.call_later(None, print), TypeError, "'delay'"),
        (lambda c: c.call_later(float('nan'), print), ValueError, "'delay'"),
        (lambda c: c.call_later(1, None), TypeError, "'fn'"),
        (lambda c: c.call_soon_threadsafe(1), TypeError, "'fn'"),
        (lambda c: c.sleep('1'), TypeError, "'seconds'"),
        (lambda c: c.sleep(True), TypeError, "'seconds'"),
    ],
)
def test_wrong_arguments(connection, call, error, text):
    with pytest.raises(error, match=text):
        call(connection)


def test_what_is_pending_at_the_end_is_dropped(connection):
    timer = connection.call_later(0, pytest.fail)
    connection.close()
    for call in (
        lambda: connection.call_later(0, print),
        lambda: connection.call_soon_threadsafe(print),
        lambda: connection.sleep(0),
        lambda: connection.drain_events(timeout=0),
    ):
        with pytest.raises(amqp.RecoverableConnectionError, match='already closed'):
            call()
    assert timer.is_pending


def test_before_the_connection_is_open(peer):
    connection = amqp.Connection(peer.host)
    with pytest.raises(amqp.RecoverableConnectionError, match='not connected'):
        connection.call_later(0, print)


def test_a_timer_may_close_the_connection(connection):
    connection.call_later(0, connection.close)
    connection.drain_events(timeout=SOON)
    assert not connection.connected


# -- sleep


def test_sleep_handles_what_comes(connection, channel, wire):
    seen = []
    channel.basic_consume('q', 'tag', callback=seen.append, no_ack=True)
    wire.deliver(1, 'tag', 1)
    wire.deliver(1, 'tag', 2)
    connection.call_later(0, lambda: seen.append('timer'))
    began = time.monotonic()
    connection.sleep(0.05)
    assert time.monotonic() >= began + 0.05
    assert len(seen) == 3


def test_sleep_for_no_time_handles_one_event(connection):
    called = []
    connection.call_later(0, lambda: called.append(1))
    connection.call_later(0, lambda: called.append(2))
    connection.sleep(0)
    assert called == [1]
    connection.sleep(-1)
    assert called == [1, 2]
    connection.sleep(0)


def test_sleep_keeps_up_the_heartbeats(peer, connect):
    peer.serve(handshake={'heartbeat': 1})
    connection = connect(heartbeat=1)
    sleeping = Background(connection.sleep, SOON)
    with_heartbeat = peer.wire()
    until(lambda: any(type(f).__name__ == 'Heartbeat' for _, f in with_heartbeat.received))
    connection.collect()
    assert isinstance(sleeping.error(), amqp.RecoverableConnectionError)


def test_sleep_raises_what_closes_the_connection(peer, connect):
    peer.serve()
    connection = connect()
    sleeping = Background(connection.sleep, SOON)
    peer.wire().send(0, commands.Connection.Close(320, 'CONNECTION_FORCED', 0, 0))
    assert isinstance(sleeping.error(), amqp.ConnectionForced)


class OwnDrain(amqp.Connection):
    """Another package's connection, which drains in its own way."""

    drains = 0

    def drain_events(self, timeout=None):
        self.drains += 1
        super().drain_events(timeout)


def test_a_connection_that_drains_in_its_own_way(peer, connect):
    peer.serve()
    connection = connect(OwnDrain)
    called = []
    connection.call_later(0.01, lambda: called.append(1))
    connection.sleep(0.05)
    assert called == [1]
    assert connection.drains > 1


# -- other threads


def test_a_thread_that_waits_for_the_socket_is_woken(connection):
    called = []
    draining = Background(connection.drain_events, SOON)
    until(lambda: waits(connection))
    connection.call_soon_threadsafe(lambda: called.append(threading.get_ident()))
    draining.result()
    assert called == [draining._thread.ident]


def test_a_thread_that_waits_for_another_thread_that_reads_is_woken(connection, channel):
    """One that waits for a reply, and runs no timers, has the socket."""
    reading = Background(channel.wait, (50, 11))
    until(lambda: waits(connection))
    draining = Background(connection.drain_events, SOON)
    until(lambda: connection._reader._role._waiting)
    connection.call_soon_threadsafe(lambda: None)
    draining.result()
    connection.collect()
    assert isinstance(reading.error(), amqp.RecoverableConnectionError)


def test_an_earlier_timer_of_another_thread_is_seen_by_one_that_waits(connection):
    called = []
    connection.call_later(3600, lambda: called.append('late'))
    draining = Background(connection.drain_events, SOON)
    until(lambda: waits(connection))
    connection.call_later(0.01, lambda: called.append('early'))
    draining.result()
    assert called == ['early']


def test_calls_of_many_threads_each_happen_once(connection):
    called = []

    def ask(thread):
        for number in range(200):
            connection.call_soon_threadsafe(lambda n=number: called.append((thread, n)))

    draining = [
        Background(connection._drain_until, lambda: len(called) == 800, None) for _ in range(2)
    ]
    asking = [Background(ask, thread) for thread in range(4)]
    for each in asking + draining:
        each.result()
    assert sorted(called) == [(thread, n) for thread in range(4) for n in range(200)]


def test_where_one_thread_drains_the_order_of_calls_is_kept(connection):
    called = []
    for number in range(50):
        connection.call_soon_threadsafe(lambda number=number: called.append(number))
    draining = Background(connection._drain_until, lambda: len(called) == 100, None)
    for number in range(50, 100):
        connection.call_soon_threadsafe(lambda number=number: called.append(number))
    draining.result()
    assert called == list(range(100))


def test_a_single_thread_needs_no_descriptors(connection, monkeypatch):
    monkeypatch.setattr(threading, 'active_count', lambda: 1)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.01)
    assert not connection.transport.is_wakeable()
    monkeypatch.undo()
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.01)  # the peer's threads are there
    assert connection.transport.is_wakeable()


def test_the_descriptors_are_given_back(connection):
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.01)
    waker = connection.transport._waker
    connection.collect()
    assert waker.fileno() == -1


@pytest.mark.parametrize('end', ['collect', 'close'])
def test_an_end_right_before_a_wait_becomes_wakeable(connection, monkeypatch, end):
    """By another thread, behind the look whether there is a connection to wait for."""
    transport = connection.transport
    make_wakeable = transport.make_wakeable

    def end_first():
        Background(getattr(connection, end)).result()
        make_wakeable()

    monkeypatch.setattr(transport, 'make_wakeable', end_first)
    error = Background(connection.drain_events, SOON).error()
    assert isinstance(error, amqp.RecoverableConnectionError)
