"""What is asked of a socket."""

from __future__ import annotations

import errno
import os
import select
import socket
from types import SimpleNamespace

import pytest

from amqp import sockets


@pytest.fixture
def pair():
    ours, other = socket.socketpair()
    with ours, other:
        yield ours, other


def failing(code):
    """In place of the module of plain sockets: what it does fails."""

    def shutdown(*args):
        raise OSError(code, os.strerror(code))

    return SimpleNamespace(socket=SimpleNamespace(shutdown=shutdown))


def test_options_by_number_and_by_name():
    assert sockets.tcp_option(7) == 7
    assert sockets.tcp_option('TCP_NODELAY') == socket.TCP_NODELAY
    with pytest.raises(ValueError, match='TCP_NO_SUCH'):
        sockets.tcp_option('TCP_NO_SUCH')


@pytest.mark.parametrize('code', [errno.ENOTCONN, errno.EINVAL, errno.EBADF])
def test_a_shutdown_of_what_is_shut_down(monkeypatch, code):
    monkeypatch.setattr(sockets, '_socket', failing(code))
    sockets.shut_down(None)


def test_a_shutdown_leaves_a_session_to_the_thread_that_uses_it(pair):
    """An SSLSocket's own way would forget it."""

    class Layered(socket.socket):
        def shutdown(self, how):
            raise AssertionError(how)

    ours, other = pair
    with Layered(fileno=ours.detach()) as layered:
        sockets.shut_down(layered)
        assert other.recv(1) == b''


def test_a_shutdown_that_fails_otherwise(monkeypatch):
    monkeypatch.setattr(sockets, '_socket', failing(errno.ENOTSOCK))
    with pytest.raises(OSError, match=os.strerror(errno.ENOTSOCK)):
        sockets.shut_down(None)


@pytest.mark.parametrize('name', ['fd', '_sock'])
def test_the_sockets_of_eventlet_and_gevent_are_unwrapped(pair, name):
    plain = pair[0]
    assert sockets.plain(SimpleNamespace(**{name: plain})) is plain
    assert sockets.plain(plain) is plain


def test_a_wait_is_rounded_up(pair):
    """To the next millisecond: rounding down would spin."""
    waited = []

    class Poller:
        def register(self, *args):
            pass

        def poll(self, milliseconds):
            waited.append(milliseconds)
            return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(select, 'poll', Poller)
        assert not sockets.wait_until_ready(pair[0], sockets.WANT_READ, 0.0101)
        assert not sockets.wait_until_ready(pair[0], sockets.WANT_READ, None)
    assert waited == [11, None]


def test_octets_that_nobody_has_read(pair):
    ours, other = pair
    assert sockets.unread_octets(ours) == 0
    other.sendall(b'abc')
    assert sockets.unread_octets(ours) == 3


@pytest.mark.skipif(not hasattr(select, 'POLLRDHUP'), reason='only Linux can tell')
def test_a_peer_that_has_hung_up_with_something_unread(pair):
    ours, other = pair
    other.sendall(b'abc')
    assert not sockets.has_hung_up(ours)
    other.close()
    assert sockets.has_hung_up(ours)
