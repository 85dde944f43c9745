"""Handing octets to the kernel: over Python's sockets, and over what wraps them."""

from __future__ import annotations

import errno
import socket

import pytest

import amqp
from amqp.sending import WANT_WRITE, is_plain, send_parts
from t.helpers.streams import FakeSocket


class Wrapped(socket.socket):
    """One with a way of sending of its own, as gevent's and TLS's have."""

    def send(self, *args):
        return super().send(*args)


class Single(Wrapped):
    """One that sends no parts, as on Windows."""

    sendmsg = property()


@pytest.fixture(params=[socket.socket, Wrapped, Single])
def pair(request):
    ours, peer = socket.socketpair()
    made = request.param(fileno=ours.detach())
    made.setblocking(False)
    with made, peer:
        yield made, peer


def test_plain_sockets_are_written_to_whatever_their_timeout(pair):
    ours, _ = pair
    assert is_plain(ours) == (type(ours) is socket.socket and amqp.speedups == 'compiled')
    if is_plain(ours):
        ours.settimeout(60)
        while send_parts(ours, [b'x' * 65536]) != WANT_WRITE:
            pass


def fill(sock):
    """Have the kernel take no more."""
    with pytest.raises(BlockingIOError):
        while True:
            sock.send(b'x' * 65536)


PARTS = ([b'one'], [bytearray(b'one')], [memoryview(b'.one.')[1:4]], [b''])


@pytest.mark.parametrize('parts', PARTS, ids=str)
def test_one_part(pair, parts):
    ours, peer = pair
    assert send_parts(ours, parts) == len(parts[0])
    ours.shutdown(socket.SHUT_WR)
    assert peer.recv(100) == bytes(parts[0])


@pytest.mark.parametrize('count', [2, 3, 16, 17, 40])
def test_many_parts(pair, count):
    """As many of them as go at once, and those from the first on."""
    ours, peer = pair
    parts = [b'%02d' % number for number in range(count)]
    sent = send_parts(ours, parts)
    assert sent >= 2
    assert peer.recv(1000) == b''.join(parts)[:sent]


def test_more_than_fits(pair):
    ours, peer = pair
    octets = bytes(range(256)) * 40_000
    found = b''
    sent = send_parts(ours, [octets, b'end'])
    assert 0 < sent < len(octets)
    while len(found) < sent:
        found += peer.recv(1 << 20)
    assert found == octets[:sent]


def test_where_nothing_fits(pair):
    ours, _ = pair
    fill(ours)
    assert send_parts(ours, [b'x']) == WANT_WRITE
    assert send_parts(ours, [b'x', b'y']) == WANT_WRITE


@pytest.mark.parametrize('parts', [[b'x'], [b'x', b'y']], ids=len)
def test_the_error_of_the_kernel(pair, parts):
    ours, peer = pair
    peer.close()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        send_parts(ours, parts)
    ours.close()
    with pytest.raises(OSError, match='descriptor') as caught:
        send_parts(ours, parts)
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize('part', [None, 5, 'text', [b'x']], ids=str)
def test_what_is_no_octets(pair, part):
    ours, peer = pair
    with pytest.raises(TypeError):
        send_parts(ours, [part])
    with pytest.raises(TypeError):
        send_parts(ours, [part, b'never'])
    ours.close()
    assert peer.recv(100) == b''


def test_memory_is_let_go_of(pair):
    ours, _ = pair
    octets = bytearray(b'x')
    send_parts(ours, [octets, octets])
    with pytest.raises(TypeError):
        send_parts(ours, [None, octets])
    octets.append(0)  # BufferError, as long as somebody looks at it


def test_what_wraps_a_socket_is_asked():
    ours, peer = socket.socketpair()
    with peer, FakeSocket(ours, send=[InterruptedError], sendmsg=[InterruptedError]) as made:
        for parts in ([b'x'], [b'x', b'y']):
            with pytest.raises(InterruptedError):
                send_parts(made, parts)
        assert send_parts(made, [b'z']) == 1
        assert peer.recv(100) == b'z'
