"""Blocking streams of frames, over real sockets.

A fake socket stands in for errors that a real one can't be made to give: an interrupted system
call, the kernel's ETIMEDOUT, a send that takes part of what it was given.
"""

from __future__ import annotations

import errno
import select
import signal
import socket
import struct
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from amqp import abstract_transport as module
from amqp import addresses as name_lookup
from amqp.deadline import Deadline
from amqp.exceptions import FrameError, RecoverableConnectionError
from amqp.sending import IOV_MAX
from amqp.spec import PROTOCOL_HEADER
from amqp.transport import TCPTransport
from t.helpers.streams import (
    NOW,
    Stream,
    encode,
    fake,
    host_of,
    port_of,
    readable,
    received,
    soon,
    within,
)
from t.helpers.threads import SOON, Background, Interrupted, until


def test_its_repr_tells_where_it_stands(stream):
    assert repr(stream.transport).startswith('<TCPTransport: localhost:5672 (connected) at 0x')
    stream.transport.close()
    assert '(disconnected)' in repr(stream.transport)


# -- connecting


def test_connecting_sends_the_header_and_sets_the_options(listener):
    transport = TCPTransport(
        host_of(listener),
        connect_timeout=SOON,
        socket_settings={'TCP_KEEPCNT': 4, socket.TCP_KEEPINTVL: 5, 'TCP_USER_TIMEOUT': 30_000},
    )
    transport.connect()
    accepted, _ = listener.accept()
    with accepted:
        assert accepted.recv(100) == PROTOCOL_HEADER
        sock = transport.sock
        assert transport.connected
        assert transport.bytes_sent == len(PROTOCOL_HEADER)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        assert not sock.get_inheritable()
        transport.connect()  # is connected: nothing happens
        assert transport.sock is sock
        transport.close()


def test_no_user_timeout_unless_asked_for(listener):
    transport = TCPTransport(host_of(listener))
    transport.connect(soon())
    assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
    transport.close()


def test_an_option_that_is_none(listener):
    transport = TCPTransport(host_of(listener), socket_settings={'TCP_NONSENSE': 1})
    with pytest.raises(ValueError, match="no option 'TCP_NONSENSE'"):
        transport.connect()
    assert transport.sock is None
    assert not transport.connected


def test_nobody_listens(listener):
    host = host_of(listener)
    listener.close()
    transport = TCPTransport(host, connect_timeout=SOON)
    with pytest.raises(ConnectionRefusedError):
        transport.connect()
    assert (transport.sock, transport.connected) == (None, False)


def addresses(*hosts, port):
    return [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, '', (host, port)) for host in hosts
    ]


def test_the_first_address_refuses_and_the_second_is_used(listener, monkeypatch):
    port = port_of(listener)
    monkeypatch.setattr(
        name_lookup,
        '_getaddrinfo',
        lambda *args: addresses('127.0.0.9', '127.0.0.1', port=port),
    )
    transport = TCPTransport(f'rabbit:{port}', connect_timeout=SOON)
    transport.connect()
    assert transport.sock.getpeername() == ('127.0.0.1', port)
    transport.close()


def test_all_addresses_refuse(listener, monkeypatch):
    port = port_of(listener)
    listener.close()
    monkeypatch.setattr(
        name_lookup,
        '_getaddrinfo',
        lambda *args: addresses('127.0.0.9', '127.0.0.8', port=port),
    )
    with pytest.raises(ConnectionRefusedError, match=r'127\.0\.0\.9: .*; 127\.0\.0\.8: ') as caught:
        TCPTransport(f'rabbit:{port}').connect()
    assert caught.value.errno == errno.ECONNREFUSED
    assert f'no address of rabbit:{port} could be reached' in str(caught.value)


def test_a_mute_address_leaves_time_for_those_behind_it(monkeypatch):
    monkeypatch.setattr(
        name_lookup, '_getaddrinfo', lambda *args: addresses('127.0.0.9', '127.0.0.8', port=1)
    )
    shares = []

    class Mute(TCPTransport):
        def _connect_to(self, family, kind, proto, address, timeout):
            shares.append(timeout)
            raise TimeoutError('mute')

    with pytest.raises(TimeoutError, match='could be reached'):
        Mute('rabbit').connect(within(10))
    assert 4 < shares[0] <= 5
    assert 9 < shares[1] <= 10  # this one took no time


def test_a_deadline_that_has_passed_is_a_timeout_at_once(monkeypatch):
    seen = []

    class Watched(socket.socket):
        def settimeout(self, value):
            seen.append(value)
            super().settimeout(value)

        def connect(self, address):
            raise TimeoutError('timed out')

    monkeypatch.setattr(socket, 'socket', Watched)
    with pytest.raises(TimeoutError):
        TCPTransport('127.0.0.1:1').connect(NOW)
    assert seen[0] == 0.001


def test_a_write_that_fails_undoes_the_connecting(listener):
    class Failing(TCPTransport):
        def write(self, data, deadline=None):
            raise KeyboardInterrupt

    transport = Failing(host_of(listener))
    with pytest.raises(KeyboardInterrupt):
        transport.connect()
    assert (transport.sock, transport.connected) == (None, False)


# -- reading


def test_frames_one_by_one(stream):
    frames = [(1, 1, b'abc'), (8, 0, b''), (3, 7, b'x' * 100)]
    stream.peer.sendall(b''.join(encode(*frame) for frame in frames))
    assert [stream.transport.read_frame(soon()) for _ in frames] == frames
    assert stream.transport.frames_read == 3
    assert stream.transport.messages_read == 0
    assert stream.transport.bytes_recv == sum(8 + len(frame[2]) for frame in frames)


def test_a_read_takes_all_but_the_socket_stays_readable(stream):
    """A loop that watches the socket comes back for the frames that wait here."""
    transport = stream.transport
    stream.peer.sendall(b''.join(encode(1, each, b'abc') for each in range(3)))
    for each in range(3):
        assert transport.read_frame(soon()) == (1, each, b'abc')
        assert readable(transport.sock) == (each < 2)
        assert transport.has_frame() == (each < 2)
        assert not transport.has_unseen_frame()
    assert transport.bytes_recv == 33
    with pytest.raises(TimeoutError):
        transport.read_frame(NOW)


def test_half_a_frame_that_was_looked_at_leaves_the_kernel(stream):
    """Else a loop that watches the socket would be woken again and again by what it can't use."""
    transport = stream.transport
    stream.peer.sendall(encode(1, 1, b'abc') + encode(1, 2, b'def')[:5])
    assert transport.read_frame(soon()) == (1, 1, b'abc')
    assert readable(transport.sock)
    with pytest.raises(TimeoutError):
        transport.read_frame(NOW)
    assert not readable(transport.sock)
    stream.peer.sendall(encode(1, 2, b'def')[5:] + encode(1, 3, b'ghi'))
    assert transport.read_frame(soon()) == (1, 2, b'def')
    assert readable(transport.sock)
    assert transport.read_frame(soon()) == (1, 3, b'ghi')
    assert not readable(transport.sock)


def test_where_a_loop_watches_all_is_given_back_by_the_next_read(stream):
    """The loop comes back once more, and what the last event gave it to do is done before."""
    transport = stream.transport
    transport.raise_on_initial_eintr = True
    stream.peer.sendall(encode(1, 1, b'abc'))
    assert transport.read_frame(soon()) == (1, 1, b'abc')
    assert readable(transport.sock)
    assert not transport.holds_data()
    with pytest.raises(TimeoutError):
        transport.read_frame(NOW)
    assert not readable(transport.sock)


def test_a_fill_without_waiting(stream):
    transport = stream.transport
    assert not transport.fill_now()
    stream.peer.sendall(encode(1, 1, b'abc'))
    assert transport.fill_now()
    assert transport.has_frame()
    assert transport.is_drained
    assert not transport.fill_now()  # the last receive got all: the kernel isn't asked again
    assert transport.read_frame(NOW) == (1, 1, b'abc')
    stream.peer.sendall(encode(1, 2, b'def'))
    assert transport.read_frame(soon()) == (1, 2, b'def')


def test_a_receive_that_filled_all_its_room_is_followed_by_another(stream):
    sent = encode(1, 1, b'x' * 1000) * 9
    stream.peer.sendall(sent)
    assert stream.transport.fill_now()
    assert not stream.transport.is_drained
    found = [stream.transport.read_frame(soon()) for _ in range(9)]
    assert found == [(1, 1, b'x' * 1000)] * 9
    assert stream.transport.is_drained
    assert stream.transport.bytes_recv == len(sent)


def test_a_fill_where_the_last_got_all_waits_before_it_tries(stream):
    stream.transport.is_drained = True
    made = fake(stream)
    with pytest.raises(TimeoutError, match='no frame came in time'):
        stream.transport.fill(within(0.01))
    assert len(made.calls) == 1
    sending = Background(lambda: stream.peer.sendall(encode(8, 0, b'')))
    stream.transport.fill(soon())
    sending.result()
    assert stream.transport.read_frame(NOW) == (8, 0, b'')


def test_memory_is_given_back_by_who_waits_for_long(stream, monkeypatch):
    monkeypatch.setattr(module, 'IDLE_AFTER', 0.01)
    buffer = stream.transport._read_buffer
    stream.peer.sendall(encode(1, 1, b'x' * 10_000))
    stream.transport.read_frame(soon())
    assert buffer.is_large()
    with pytest.raises(TimeoutError):
        stream.transport.read_frame(within(0.05))
    assert not buffer.is_large()
    stream.peer.sendall(encode(1, 1, b'y' * 10_000))
    assert stream.transport.read_frame(soon()) == (1, 1, b'y' * 10_000)


def test_a_timeout_between_any_two_octets_loses_none(stream):
    sent = encode(2, 1, b'0123456789') + encode(3, 1, b'abc')
    found = []
    for position in range(len(sent)):
        with pytest.raises(TimeoutError):
            while True:
                found.append(stream.transport.read_frame(NOW))
        stream.peer.sendall(sent[position : position + 1])
    found.append(stream.transport.read_frame(soon()))
    assert found == [(2, 1, b'0123456789'), (3, 1, b'abc')]


def test_one_deadline_for_all_the_octets(stream):
    """Octets that dribble in don't start the time again."""
    began = time.monotonic()
    stop = threading.Event()

    def dribble():
        for octet in encode(3, 1, b'x' * 1000):
            if stop.wait(0.01):
                return
            stream.peer.sendall(bytes([octet]))

    dribbling = Background(dribble)
    with pytest.raises(TimeoutError, match='no frame came in time'):
        stream.transport.read_frame(within(0.1))
    assert 0.1 <= time.monotonic() - began < 5
    stop.set()
    dribbling.result()


def test_the_end_of_the_stream(stream):
    stream.peer.sendall(encode(1, 1, b'abc'))
    stream.peer.close()
    assert stream.transport.read_frame(soon()) == (1, 1, b'abc')
    with pytest.raises(ConnectionResetError, match='the peer closed the connection'):
        stream.transport.read_frame(soon())


def test_frame_max(stream):
    stream.transport.set_frame_max(4096)
    stream.peer.sendall(struct.pack('>BHI', 3, 1, 4089))
    with pytest.raises(FrameError, match='frame_max is 4096'):
        stream.transport.read_frame(soon())


EINTR = InterruptedError(errno.EINTR, 'interrupted')
KERNEL_TIMEOUT = OSError(errno.ETIMEDOUT, 'Connection timed out')


def test_an_interruption_before_a_frame_is_a_timeout(stream):
    stream.peer.sendall(encode(1, 1, b'abc'))
    fake(stream, recv_into=[EINTR])
    with pytest.raises(TimeoutError, match='interrupted before a frame'):
        stream.transport.read_frame(soon())
    assert stream.transport.read_frame(soon()) == (1, 1, b'abc')
    assert not stream.transport.read_torn


def test_an_interruption_is_passed_over_when_asked_so(stream):
    stream.transport.raise_on_initial_eintr = False
    assert stream.transport.raise_on_initial_eintr is False
    stream.peer.sendall(encode(1, 1, b'abc'))
    fake(stream, recv_into=[EINTR, EINTR])
    assert stream.transport.read_frame(soon()) == (1, 1, b'abc')


def test_an_interruption_within_a_frame_is_passed_over(stream):
    stream.peer.sendall(encode(1, 1, b'abc'))
    first = lambda sock, space, *args: sock.recv_into(space[:3], *args)  # noqa: E731
    give_back = lambda sock, *args: sock.recv_into(*args)  # noqa: E731
    fake(stream, recv_into=[first, give_back, EINTR])
    assert stream.transport.read_frame(soon()) == (1, 1, b'abc')


def test_writing_that_attribute_tells_that_a_loop_watches(stream):
    assert not stream.transport.watched
    stream.transport.raise_on_initial_eintr = True
    assert stream.transport.watched


def test_the_timeout_of_the_kernel_is_a_loss(stream):
    assert isinstance(KERNEL_TIMEOUT, TimeoutError)
    fake(stream, recv_into=[KERNEL_TIMEOUT])
    with pytest.raises(ConnectionAbortedError, match='connection lost: ') as caught:
        stream.transport.read_frame(soon())
    assert caught.value.errno == errno.ETIMEDOUT
    assert not isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize('code', [errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETDOWN])
def test_other_errors_are_passed_on(stream, code):
    fake(stream, recv_into=[OSError(code, 'lost')])
    with pytest.raises(OSError) as caught:
        stream.transport.read_frame(soon())
    assert caught.value.errno == code


def test_an_exception_in_the_midst_of_a_receive_puts_the_stream_out_of_step(stream):
    stream.peer.sendall(encode(1, 1, b'abc'))
    fake(stream, recv_into=[KeyboardInterrupt])
    with pytest.raises(KeyboardInterrupt):
        stream.transport.read_frame(soon())
    assert stream.transport.read_torn
    assert not stream.transport.write_torn


def test_an_exception_while_the_borrowed_is_returned(stream):
    stream.peer.sendall(encode(1, 1, b'abc'))
    peek = lambda sock, *args: sock.recv_into(*args)  # noqa: E731
    fake(stream, recv_into=[peek, KeyboardInterrupt])
    with pytest.raises(KeyboardInterrupt):
        stream.transport.read_frame(soon())
    assert stream.transport.read_torn


def test_in_a_forked_child_a_wait_that_was_under_way_reads_nothing(stream, monkeypatch):
    """A greenlet's goes on there, and what comes is the parent's."""
    poll = module.wait_until_ready

    def fork_meanwhile(*args):
        stream.peer.sendall(encode(8, 0, b''))
        monkeypatch.setattr(module, 'fork_generation', lambda: 12345)
        return poll(*args)

    monkeypatch.setattr(module, 'wait_until_ready', fork_meanwhile)
    with pytest.raises(ConnectionAbortedError, match='parent'):
        stream.transport.read_frame(soon())
    assert stream.transport.bytes_recv == 0
    assert readable(stream.transport.sock)


def test_an_exception_while_waiting_does_no_harm(stream, monkeypatch):
    class Interrupted:
        def register(self, *args):
            pass

        def poll(self, *args):
            raise KeyboardInterrupt

    monkeypatch.setattr(select, 'poll', Interrupted)
    with pytest.raises(KeyboardInterrupt):
        stream.transport.read_frame(soon())
    monkeypatch.undo()
    assert not stream.transport.read_torn
    assert stream.transport._waiting == set()
    stream.peer.sendall(encode(8, 0, b''))
    assert stream.transport.read_frame(soon()) == (8, 0, b'')


# -- what there is to read


def test_the_peer_is_there(stream):
    transport = stream.transport
    assert transport.peer_is_there()
    assert not transport.data_is_waiting()
    stream.peer.sendall(b'\x08')
    assert transport.peer_is_there()
    assert transport.data_is_waiting()
    stream.peer.close()
    until(lambda: not transport.peer_is_there())  # though that octet is there still
    transport.sock.recv(1)
    assert not transport.peer_is_there()
    assert not transport.data_is_waiting()


def test_neither_is_there_when_it_is_closed(stream):
    stream.transport.close()
    assert not stream.transport.peer_is_there()
    assert not stream.transport.data_is_waiting()


def test_half_a_frame_is_held_but_no_sign_of_more(stream):
    """A peer that died in the middle of a frame must not pass for alive for ever."""
    stream.peer.sendall(encode(1, 1, b'abc')[:9])
    with pytest.raises(TimeoutError):
        stream.transport.read_frame(NOW)
    assert stream.transport.holds_data()
    assert not stream.transport.has_frame()
    assert not stream.transport.data_is_waiting()


@pytest.fixture(params=['counted by the kernel', 'peeked at'])
def unread(request, monkeypatch):
    if request.param == 'peeked at':  # as on Windows
        monkeypatch.setitem(sys.modules, 'fcntl', None)
    return request.param


def room(stream):
    return stream.transport.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def test_what_lies_unread_is_news_once(stream, unread):
    """A peer that has been silent since must not pass for alive for ever."""
    transport = stream.transport
    assert not transport.has_news()
    for octets in (b'\x08', encode(8, 0, b'')):
        stream.peer.sendall(octets)
        assert transport.has_news()
        assert not transport.has_news()
    stream.peer.close()
    transport.close()
    assert not transport.has_news()


def test_a_peer_that_may_have_no_room_to_send_is_not_silent(stream, unread):
    stream.peer.sendall(bytes(room(stream) // 8))
    for _ in range(3):
        assert stream.transport.has_news()


def test_much_that_lies_unread_is_news_once(stream):
    for _ in range(2):
        stream.peer.sendall(bytes(5000))
        assert stream.transport.has_news()
        assert not stream.transport.has_news()


def test_what_has_been_read_is_no_news_when_it_leaves_the_kernel(stream):
    transport = stream.transport
    stream.peer.sendall(encode(8, 0, b'') * 2)
    transport.read_frame(soon())
    assert transport.has_news()
    assert readable(transport.sock)
    transport._return_borrowed(transport.sock)
    assert not readable(transport.sock)
    assert not transport.has_news()


def tcp_pair():
    with socket.create_server(('127.0.0.1', 0)) as listening:
        ours = socket.create_connection(listening.getsockname(), timeout=SOON)
        return ours, listening.accept()[0]


def test_a_reset_is_the_end(stream):
    ours, theirs = tcp_pair()
    stream.transport.sock.close()
    stream.transport.sock = ours
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    assert stream.transport.peer_is_there()
    theirs.close()
    assert not stream.transport.peer_is_there()


def failing(error):
    """In place of the module of plain sockets: all its methods raise."""

    def method(*args):
        raise error

    return SimpleNamespace(socket=SimpleNamespace(recv=method, shutdown=method))


def test_a_look_that_is_interrupted_has_seen_nothing(stream, monkeypatch):
    monkeypatch.setattr(module, '_socket', failing(EINTR))
    assert stream.transport.peer_is_there()
    assert not stream.transport.data_is_waiting()


# -- timeouts


@pytest.mark.parametrize('how', ['read_timeout', 'settimeout', 'having_timeout'])
def test_a_read_without_a_deadline_has_that_of(stream, how):
    transport = stream.transport
    if how == 'read_timeout':
        transport.read_timeout = 0.05
    elif how == 'settimeout':
        transport.sock.settimeout(0.05)  # as Celery does
    began = time.monotonic()
    with transport.having_timeout(0.05 if how == 'having_timeout' else None) as sock:
        assert sock is transport.sock
        with pytest.raises(TimeoutError):
            transport.read_frame()
    assert 0.05 <= time.monotonic() - began < 5
    assert transport.sock.gettimeout() == 0


@pytest.mark.parametrize('how', ['write_timeout', 'settimeout', 'having_timeout'])
def test_a_write_without_a_deadline_has_that_of(stream, how):
    transport = stream.transport
    stream.fill()
    if how == 'write_timeout':
        transport.write_timeout = 0.05
    elif how == 'settimeout':
        transport.sock.settimeout(0.05)
    with transport.having_timeout(0.05 if how == 'having_timeout' else None):
        with pytest.raises(TimeoutError, match='the peer took no data in time'):
            transport.write(b'x')
    assert not transport.write_torn


def test_the_lowest_limit_holds(stream):
    transport = stream.transport
    assert transport.patience() is None
    assert transport.patience(None, 5, 3) == 3
    transport.sock.settimeout(2)
    assert transport.patience(None, 5, 3) == 2
    with transport.having_timeout(1):
        assert transport.patience(3) == 1
    assert transport.patience(3) == 2
    transport.sock.settimeout(None)
    assert transport.patience() is None


def test_without_a_socket_a_limit_still_holds(stream):
    stream.transport.close()
    assert stream.transport.patience(3) == 3


# -- writing


def test_parts_go_out_one_behind_the_other(stream):
    stream.transport.write_all([b'ab', memoryview(b'cd'), bytearray(b'ef')], soon())
    assert received(stream, 6) == b'abcdef'
    assert stream.transport.bytes_sent == 6


def test_a_small_message_is_one_send(stream):
    sock = fake(stream, send=[], sendmsg=[])
    stream.transport.write_all([b'ab'] * 100, soon())
    assert [name for name, _ in sock.calls] == ['send']


def test_a_large_one_is_gathered_and_not_copied(stream):
    body = bytes(64 * 1024)
    whole = lambda sock, parts: sum(map(len, parts))  # noqa: E731
    sock = fake(stream, sendmsg=[whole])
    stream.transport.write_all([b'head', b'er', body, b'end'], soon())
    ((_, (parts,)),) = sock.calls
    assert parts[1] is body
    assert [bytes(part) for part in parts] == [b'header', body, b'end']


def test_no_more_parts_at_once_than_the_platform_takes(stream):
    body = bytes(40 * 1024)
    parts = [body] * (IOV_MAX + 10)
    taken = []

    def sendmsg(sock, parts):
        taken.append(len(parts))
        return sum(map(len, parts))

    fake(stream, sendmsg=[sendmsg, sendmsg])
    stream.transport.write_all(parts, soon())
    assert taken == [IOV_MAX, 10]
    assert stream.transport.bytes_sent == len(body) * len(parts)


@pytest.mark.parametrize('sizes', [[1, 1, 1], [3, 40_000, 5, 50_000], [40_000, 40_000], [0, 9, 0]])
@pytest.mark.parametrize('step', [1, 2, 7, 4096, 40_001])
def test_sends_that_take_part_only(sizes, step):
    """Every octet once, in order, wherever the kernel stops taking them."""
    if step < 100 and sum(sizes) > 1000:
        sizes = [size // 500 for size in sizes]
    parts = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    whole = b''.join(parts)
    sent = bytearray()

    def some(sock, data):
        data = data if isinstance(data, list) else [data]
        taken = b''.join(bytes(part) for part in data)[:step]
        sent.extend(taken)
        return len(taken)

    stream = Stream()
    count = len(whole) // step + len(sizes) + 2
    fake(stream, send=[some] * count, sendmsg=[some] * count)
    stream.transport.write_all(parts, soon())
    stream.close()
    assert bytes(sent) == whole
    assert stream.transport.bytes_sent == len(whole)


def test_an_interrupted_send_goes_on(stream):
    fake(stream, send=[EINTR, lambda sock, data: sock.send(data[:2]), EINTR])
    stream.transport.write(b'abcdef', soon())
    assert received(stream, 6) == b'abcdef'


def test_the_timeout_of_the_kernel_is_a_loss_in_a_send_too(stream):
    fake(stream, send=[KERNEL_TIMEOUT])
    with pytest.raises(ConnectionAbortedError) as caught:
        stream.transport.write(b'x', soon())
    assert caught.value.errno == errno.ETIMEDOUT
    assert stream.transport.write_torn


def test_a_timeout_before_the_first_octet_leaves_the_stream_whole(stream):
    stream.fill()
    with pytest.raises(TimeoutError, match='the peer took no data in time'):
        stream.transport.write(b'x', within(0.02))
    assert not stream.transport.write_torn
    stream.peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        while stream.peer.recv(1 << 20):
            pass
    stream.transport.write(b'!', soon())
    assert received(stream, 1)[-1:] == b'!'


def test_a_timeout_half_way_breaks_it_for_good(stream):
    stream.fill()
    fake(stream, send=[lambda sock, data: 2, BlockingIOError()])
    with pytest.raises(RecoverableConnectionError, match=r'half-way: .* \(2 octets of it'):
        stream.transport.write(b'abcdef', within(0.02))
    assert stream.transport.write_torn
    assert not stream.transport.read_torn
    with pytest.raises(RecoverableConnectionError, match='cut off half-way'):
        stream.transport.write(b'next', soon())


def test_a_heartbeat_that_stops_half_way_is_finished_before_the_next_frame(stream):
    """It may be sent with no time to wait, and no later octet may land within it."""
    heartbeat, frame = encode(8, 0, b''), encode(1, 1, b'x')
    fake(stream, send=[lambda sock, data: sock.send(data[:3]), BlockingIOError])
    with pytest.raises(TimeoutError):
        stream.transport.write(heartbeat, NOW)
    assert not stream.transport.write_torn
    stream.transport.write(frame, soon())
    assert received(stream, len(heartbeat + frame)) == heartbeat + frame
    assert stream.transport.bytes_sent == len(heartbeat + frame)


def test_an_exception_in_the_midst_of_a_send_breaks_it(stream):
    fake(stream, send=[KeyboardInterrupt])
    with pytest.raises(KeyboardInterrupt):
        stream.transport.write(b'x', soon())
    assert stream.transport.write_torn


def test_an_exception_in_the_wait_before_the_first_octet_does_not(stream, monkeypatch):
    class Interrupted:
        def register(self, *args):
            pass

        def poll(self, *args):
            raise KeyboardInterrupt

    fake(stream, send=[BlockingIOError()])
    monkeypatch.setattr(select, 'poll', Interrupted)
    with pytest.raises(KeyboardInterrupt):
        stream.transport.write(b'x', soon())
    assert not stream.transport.write_torn
    stream.transport.write(b'x', soon())
    assert received(stream, 1) == b'x'


def test_a_peer_that_takes_nothing_ends_a_write_without_a_deadline(stream):
    """That is no expired wait, for no caller has set a limit: the peer is lost."""
    stream.transport.stall_timeout = 0.02
    stream.fill()
    with pytest.raises(ConnectionAbortedError, match=r'has taken no data for 0\.02 s'):
        stream.transport.write(b'x')
    assert not stream.transport.write_torn


def test_a_slow_peer_is_no_stalled_one(stream):
    """The limit is for octets that don't move, not for the whole of a long write."""
    stream.transport.stall_timeout = 5
    size = 4 << 20
    writing = Background(stream.transport.write, bytes(size))
    assert len(received(stream, size)) == size
    writing.result()


def test_writes_of_many_threads_do_not_mix(stream):
    size = 100_000
    reading = Background(received, stream, 16 * 4 * size)
    writing = [
        Background(
            lambda letter: [
                stream.transport.write_all([letter * 10, letter * (size - 10)], soon())
                for _ in range(4)
            ],
            bytes([65 + number]),
        )
        for number in range(16)
    ]
    for each in writing:
        each.result()
    found = reading.result()
    for start in range(0, len(found), size):
        assert len(set(found[start : start + size])) == 1


@contextmanager
def another_thread_writing(transport):
    """The write lock is held by another thread within the block."""
    held, ended = threading.Event(), threading.Event()

    def hold():
        with transport._write_lock:
            held.set()
            ended.wait(SOON)

    holding = Background(hold)
    assert held.wait(SOON)
    try:
        yield
    finally:
        ended.set()
        holding.result()


def test_a_write_behind_another_that_does_not_end(stream):
    with another_thread_writing(stream.transport):
        for deadline in (NOW, within(0.02)):
            with pytest.raises(TimeoutError, match="another thread's write"):
                stream.transport.write(b'x', deadline)
        waiting = Background(stream.transport.write, b'x', Deadline(None, 0.0))
    waiting.result()
    assert received(stream, 1) == b'x'


def test_a_write_behind_another_that_stands_still(stream):
    stream.transport.stall_timeout = 0.02
    with another_thread_writing(stream.transport):
        with pytest.raises(ConnectionAbortedError, match='stood still'):
            stream.transport.write(b'x')


WRITES = {
    'all': lambda transport: transport.write(b'handler'),
    'gathered': lambda transport: transport.write_gathered([b'handler']),
    'batch': lambda transport: transport.end_batch('batch'),
}


@pytest.mark.skipif(not hasattr(signal, 'pthread_kill'), reason='no such signals here')
@pytest.mark.parametrize('way', WRITES)
def test_a_signal_handler_writes_nothing_amid_a_write(stream, way):
    """Or it would land within a frame of its thread's, and let others write there, too."""
    transport, octets = stream.transport, b'm' * 4_000_000
    here, refusals, reading = threading.get_ident(), [], []

    def handler(*_):
        with pytest.raises(TimeoutError, match='amid a write of its own thread') as refusal:
            WRITES[way](transport)
        refusals.append(refusal)
        reading.append(Background(received, stream, len(octets)))

    def strike():
        until(lambda: transport._is_amid_write)
        signal.pthread_kill(here, signal.SIGUSR1)

    transport.begin_batch('batch')
    before = signal.signal(signal.SIGUSR1, handler)
    striking = Background(strike)
    try:
        transport.write(octets)
    finally:
        striking.result()
        signal.signal(signal.SIGUSR1, before)
    assert len(refusals) == 1
    assert reading[0].result() == octets
    transport.end_batch('batch')
    Background(transport.write, b'later', within(SOON)).result()
    assert received(stream, 5) == b'later'


def test_a_lock_that_an_interruption_left_behind_is_given_back(stream):
    """A signal handler's exception fell right behind the acquire."""
    assert stream.transport._write_lock.acquire(timeout=1)
    stream.transport.write(b'x')
    Background(stream.transport.write, b'y', within(SOON)).result()
    assert received(stream, 2) == b'xy'


# -- the end


@pytest.mark.parametrize('operation', ['read', 'write'])
def test_closing_ends_the_waits_of_other_threads(stream, operation):
    transport = stream.transport
    sock = transport.sock
    if operation == 'read':
        waiting = Background(transport.read_frame, Deadline(None, 0.0))
    else:
        stream.fill()
        waiting = Background(transport.write, b'x', Deadline(None, 0.0))
    until(lambda: transport._waiting)
    transport.close()
    assert isinstance(waiting.error(), OSError)
    assert not isinstance(waiting.error(), TimeoutError)
    assert sock.fileno() == -1
    assert transport.sock is None


def test_the_number_of_the_socket_is_not_given_back_under_a_waiting_thread(stream):
    transport = stream.transport
    sock = transport.sock
    transport._waiting.add(1)  # a thread within poll
    transport.close()
    assert not transport.connected
    assert sock.fileno() != -1
    transport._waiting.clear()
    transport.close()
    assert sock.fileno() == -1


def test_closing_again_and_use_after_it(stream):
    stream.transport.close()
    stream.transport.close()
    for use in (lambda: stream.transport.read_frame(soon()), lambda: stream.transport.write(b'x')):
        with pytest.raises(ConnectionAbortedError, match='the connection is closed'):
            use()


def test_the_peer_sees_the_end(stream):
    stream.transport.close()
    assert stream.peer.recv(1) == b''


def test_in_a_forked_child_it_leaves_the_stream_alone(stream, monkeypatch):
    monkeypatch.setattr(module, 'fork_generation', lambda: 12345)
    kept = stream.transport.sock.dup()
    with stream.transport._close_lock:  # a thread of the parent had it
        stream.transport.close()
    assert stream.transport.sock is None
    assert not stream.transport.connected
    kept.sendall(b'the parent goes on')
    assert stream.peer.recv(100) == b'the parent goes on'
    kept.close()


# -- waiting without poll


def test_where_there_is_no_poll(stream, monkeypatch):
    monkeypatch.delattr(select, 'poll')
    with pytest.raises(TimeoutError):
        stream.transport.read_frame(within(0.02))
    stream.peer.sendall(encode(8, 0, b''))
    assert stream.transport.read_frame(soon()) == (8, 0, b'')
    stream.fill()
    with pytest.raises(TimeoutError):
        stream.transport.write(b'x', within(0.02))


@pytest.mark.parametrize('watched', [False, True])
def test_what_was_sent_last_arrives_though_frames_read_ahead_are_left(stream, watched):
    """The kernel resets a connection that is closed with something unread."""
    stream.transport.watched = watched
    stream.peer.sendall(encode(8, 0, b'') * 3)
    stream.transport.read_frame(soon())
    stream.transport.write(b'close-ok')
    stream.transport.close()
    stream.peer.settimeout(SOON)
    assert stream.peer.recv(100) == b'close-ok'
    assert stream.peer.recv(100) == b''


def test_a_close_that_is_interrupted_is_completed_by_the_next(stream):
    """A signal handler's exception fell right before the socket was closed."""
    sock = stream.transport.sock

    class Interrupting:
        _sock = sock
        pending = True

        def close(self):
            if self.pending:
                self.pending = False
                raise Interrupted
            sock.close()

    stream.transport.sock = Interrupting()
    with pytest.raises(Interrupted):
        stream.transport.close()
    stream.transport.close()
    assert sock.fileno() == -1
    assert stream.transport.sock is None


def test_a_close_that_a_signal_handler_interrupts_is_completed_by_the_next(stream):
    """Also where it was about to free what wakes a wait."""
    transport, closed = stream.transport, []

    class Waker:
        def close(self):
            closed.append(len(closed))
            if len(closed) == 1:
                raise Interrupted

    transport._waker = Waker()
    with pytest.raises(Interrupted):
        transport.close()
    transport.close()
    assert closed == [0, 1]
    assert transport.sock is None
