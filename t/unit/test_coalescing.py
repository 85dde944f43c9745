"""When the kernel may put small writes together: real sockets, at the times that a test says."""

from __future__ import annotations

import socket
from contextlib import contextmanager

import pytest

from amqp import coalescing as module
from amqp.coalescing import LASTING, PAUSE, WITHIN, WRITES, Coalescing
from amqp.transport import TCPTransport
from t.helpers.streams import NOW, host_of, soon, within
from t.helpers.threads import Background, Interrupted, until


def is_kept(sock):
    """Whether the kernel may keep anything."""
    return not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.fixture
def sock():
    with socket.socket() as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield made


@pytest.fixture
def coalescing(sock):
    made = Coalescing()
    made.sock = sock
    return made


def burst(coalescing, seconds, began=1000.0, each=WITHIN / 2):
    """Write for so many seconds, a number that is looked at in so many each; when it was over."""
    now = began
    while now < began + seconds + each:
        for _ in range(WRITES):
            coalescing.wrote(now)
        now += each
    return now


def test_a_lasting_burst_is_put_together(coalescing, sock):
    burst(coalescing, LASTING - WITHIN)
    assert not is_kept(sock)
    burst(coalescing, LASTING + WITHIN)
    assert is_kept(sock)


def test_a_slow_one_is_not(coalescing, sock):
    burst(coalescing, 10 * LASTING, each=WITHIN * 1.1)
    assert not is_kept(sock)


def test_one_that_slows_down_is_not_any_more(coalescing, sock):
    now = burst(coalescing, LASTING + WITHIN)
    assert is_kept(sock)
    burst(coalescing, 0, began=now + WITHIN)
    assert not is_kept(sock)
    burst(coalescing, LASTING / 2, began=now + 2 * WITHIN)
    assert not is_kept(sock)


def test_a_pause_ends_it_until_many_have_followed(coalescing, sock):
    now = burst(coalescing, LASTING + WITHIN)
    coalescing.resume(PAUSE / 2)
    assert is_kept(sock)
    coalescing.resume(PAUSE * 2)
    assert not is_kept(sock)
    for _ in range(WRITES - 1):
        coalescing.wrote(now)
    assert not is_kept(sock)
    coalescing.wrote(now)
    assert is_kept(sock)


def test_nothing_is_kept_where_a_thread_waits(coalescing, sock):
    now = burst(coalescing, LASTING + WITHIN)
    coalescing.begin_wait()
    assert not is_kept(sock)
    now = burst(coalescing, 2 * LASTING, began=now)
    assert not is_kept(sock)
    coalescing.end_wait()
    burst(coalescing, LASTING / 2, began=now)
    assert not is_kept(sock)
    burst(coalescing, LASTING + WITHIN, began=now)
    assert is_kept(sock)


@pytest.mark.parametrize('when', ['before', 'behind'])
def test_a_thread_that_begins_to_wait_as_it_starts(when):
    """It may have seen that nothing is kept, or have seen to it, too early."""
    coalescing = Coalescing()

    class Socket(socket.socket):
        def setsockopt(self, level, option, value):
            if value == 0 and when == 'before':
                coalescing.begin_wait()
            super().setsockopt(level, option, value)
            if value == 0 and when == 'behind':
                coalescing.begin_wait()

    with Socket() as sock:
        coalescing.sock = sock
        burst(coalescing, LASTING + WITHIN)
        assert not is_kept(sock)
        assert not coalescing.is_on


def test_a_burst_beside_a_wait_asks_nothing_of_the_kernel(coalescing):
    class Socket(socket.socket):
        def setsockopt(self, *args):
            raise AssertionError(args)

    with Socket() as sock:
        coalescing.sock = sock
        coalescing.begin_wait()
        burst(coalescing, LASTING + WITHIN)


@pytest.mark.parametrize('value', [0, 1])
def test_a_signal_handler_that_raises_as_it_is_switched(value):
    """What may be kept is known to be."""
    coalescing = Coalescing()

    class Socket(socket.socket):
        def setsockopt(self, *args):
            if args[-1] == 0:
                super().setsockopt(*args)
            if args[-1] == value and not raised:
                raised.append(True)
                raise Interrupted
            super().setsockopt(*args)

    raised = []
    with Socket() as sock:
        coalescing.sock = sock
        with pytest.raises(Interrupted):
            burst(coalescing, LASTING + WITHIN)
            coalescing.begin_wait()
        coalescing.begin_wait()
        assert not is_kept(sock)


def test_a_socket_that_is_closed_meanwhile(coalescing, sock):
    burst(coalescing, LASTING + WITHIN)
    sock.close()
    coalescing.begin_wait()
    assert not coalescing.is_on


def test_without_a_socket_there_is_nothing_to_be_done():
    coalescing = Coalescing()
    burst(coalescing, LASTING + WITHIN)
    coalescing.stop()
    assert not coalescing.is_on


# -- a transport's


@contextmanager
def connected(**options):
    with socket.create_server(('127.0.0.1', 0)) as listening:
        transport = TCPTransport(host_of(listening), connect_timeout=10, **options)
        transport.connect()
        peer, _ = listening.accept()
        with peer:
            try:
                yield transport, Background(drain, peer)
            finally:
                transport.close()


def drain(peer):
    while peer.recv(1 << 20):
        pass


@pytest.fixture
def any_burst(monkeypatch):
    """However slow the machine is."""
    monkeypatch.setattr(module, 'WITHIN', 1000.0)
    monkeypatch.setattr(module, 'LASTING', 0.0)
    monkeypatch.setattr(module, 'PAUSE', 1000.0)


def write_many(transport):
    """As many as make a burst: those before the first look have no beginning."""
    for _ in range(3 * WRITES):
        transport.write_gathered([b'small'], 1)


def test_a_burst_on_a_connection(any_burst):
    with connected() as (transport, _):
        sock = transport.sock
        assert not is_kept(sock)
        write_many(transport)
        assert is_kept(sock)
        with pytest.raises(TimeoutError):
            transport.fill(NOW)
        assert is_kept(sock), 'a look is no wait'
        with pytest.raises(TimeoutError):
            transport.fill(within(0.001))
        assert not is_kept(sock)


def test_a_burst_beside_a_thread_that_waits(any_burst):
    with connected() as (transport, _):
        waiting = Background(transport.fill, soon())
        until(lambda: transport._waiting)
        write_many(transport)
        assert not is_kept(transport.sock)
        transport.close()
        assert isinstance(waiting.error(), OSError)


@pytest.mark.parametrize('is_put_off', [False, True])
def test_a_pause_of_a_connection(any_burst, monkeypatch, is_put_off):
    with connected() as (transport, _):
        write_many(transport)
        monkeypatch.setattr(module, 'PAUSE', 0.0)
        if is_put_off:
            transport.begin_batch('batch')
        transport.write_gathered([b'small'], 1)
        transport.end_batch('batch')
        assert not is_kept(transport.sock)


@pytest.mark.parametrize('option', ['TCP_NODELAY', socket.TCP_NODELAY])
@pytest.mark.parametrize('value', [0, 1])
def test_what_the_user_has_chosen_stays(any_burst, option, value):
    with connected(socket_settings={option: value}) as (transport, _):
        for wait in (False, True):
            write_many(transport)
            if wait:
                with pytest.raises(TimeoutError):
                    transport.fill(within(0.001))
            assert is_kept(transport.sock) == (not value)


def test_where_an_event_loop_watches_nothing_is_kept(any_burst):
    """It waits without telling."""
    with connected() as (transport, _):
        write_many(transport)
        transport.raise_on_initial_eintr = False
        assert not is_kept(transport.sock)
        write_many(transport)
        assert not is_kept(transport.sock)
