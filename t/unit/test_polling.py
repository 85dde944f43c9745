"""Waiting for one of two descriptors, by whichever build."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time

import pytest

from amqp.polling import POLLIN, POLLOUT, wait_for

pytestmark = pytest.mark.skipif(not hasattr(select, 'poll'), reason='this platform has no poll')


@pytest.fixture
def pair():
    ours, peer = socket.socketpair()
    with ours, peer:
        yield ours, peer


@pytest.fixture
def other():
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def on_signal():
    """Have a handler called in 20 ms, in the midst of a wait."""
    before = signal.getsignal(signal.SIGUSR1)
    here = threading.get_ident()
    timer = threading.Timer(0.02, lambda: signal.pthread_kill(here, signal.SIGUSR1))

    def arm(handler):
        signal.signal(signal.SIGUSR1, handler)
        timer.start()

    yield arm
    timer.join()
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize('timeout', [0, 0.001, 0.01])
def test_nothing_is_ready(pair, other, timeout):
    assert wait_for(pair[0].fileno(), POLLIN, timeout) == 0
    assert wait_for(pair[0].fileno(), POLLIN, timeout, other[0]) == 0


@pytest.mark.parametrize('timeout', [0, 10, None])
def test_which_is_ready(pair, other, timeout):
    ours, peer = pair
    assert wait_for(ours.fileno(), POLLOUT, timeout) == 1
    assert wait_for(ours.fileno(), POLLOUT, timeout, other[0]) == 1
    os.write(other[1], b'x')
    assert wait_for(ours.fileno(), POLLIN, timeout, other[0]) == 2
    assert wait_for(ours.fileno(), POLLOUT, timeout, other[0]) == 3
    peer.send(b'x')
    assert wait_for(ours.fileno(), POLLIN, timeout) == 1


def test_the_end_of_the_stream_is_something(pair):
    ours, peer = pair
    peer.close()
    assert wait_for(ours.fileno(), POLLIN, None) == 1


def test_what_comes_meanwhile(pair, other):
    """Another thread can run, for none is held up."""
    ours, peer = pair
    for wake, expected in ((lambda: peer.send(b'x'), 1), (lambda: os.write(other[1], b'x'), 3)):
        thread = threading.Thread(target=wake)
        thread.start()
        assert wait_for(ours.fileno(), POLLIN, 10, other[0]) in (1, expected)
        thread.join()
        assert wait_for(ours.fileno(), POLLIN, 0, other[0]) == expected


@pytest.mark.parametrize('descriptor', [-1, -5])
def test_a_socket_that_is_closed(descriptor):
    with pytest.raises(ValueError, match='negative'):
        wait_for(descriptor, POLLIN, 10)


def test_a_time_that_is_over(pair):
    """As of a deadline that has passed: no time is left, and none is taken for "for ever"."""
    assert wait_for(pair[0].fileno(), POLLIN, 0.0) == 0


def test_a_time_that_no_poll_can_count(pair):
    with pytest.raises(OverflowError):
        wait_for(pair[0].fileno(), POLLIN, 2.0**31)


@pytest.mark.parametrize('timeout', [10, None])
def test_a_signal_in_between(pair, on_signal, timeout):
    ours, peer = pair
    called = []

    def handler(*args):
        called.append(args)
        peer.send(b'x')

    on_signal(handler)
    assert wait_for(ours.fileno(), POLLIN, timeout) == 1
    assert called


def test_a_signal_takes_nothing_from_the_time(pair, on_signal):
    called = []
    on_signal(lambda *args: called.append(args))
    begun = time.monotonic()
    assert wait_for(pair[0].fileno(), POLLIN, 0.1) == 0
    assert time.monotonic() - begun >= 0.1
    assert called


def test_what_a_handler_raises(pair, on_signal):
    def handler(*args):
        raise LookupError('mine')

    on_signal(handler)
    with pytest.raises(LookupError, match='mine'):
        wait_for(pair[0].fileno(), POLLIN, 10)


def test_a_poll_of_others_is_used(pair, monkeypatch):
    """gevent's and eventlet's let other greenlets run."""
    registered = []

    class Poll:
        def register(self, *args):
            registered.append(args)

        def poll(self, milliseconds):
            return [(7, POLLIN)] if milliseconds == 1500 else []

    monkeypatch.setattr(select, 'poll', Poll)
    assert wait_for(pair[0].fileno(), POLLOUT, 1.5, 7) == 2
    assert registered == [(pair[0].fileno(), POLLOUT), (7, POLLIN)]
