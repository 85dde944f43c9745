"""Writes that are left to the thread that is writing."""

from __future__ import annotations

import threading

import pytest

from amqp import abstract_transport as module
from amqp.exceptions import RecoverableConnectionError
from amqp.write_queue import LARGEST, MOST, WriteQueue
from t.helpers.streams import encode, fake, received, soon
from t.helpers.threads import SOON, Background, Interrupted, until

BATCH = object()


def test_what_was_left_is_taken_in_order_and_once():
    queue = WriteQueue()
    assert queue.leave([b'one'], 1)
    assert queue.leave([b't', memoryview(b'wo')], 3)
    found = queue.take()
    assert [(write.octets, write.frames) for write in found] == [(b'one', 1), (b'two', 3)]
    assert queue.take() == []


def test_what_was_left_does_not_change_any_more():
    queue = WriteQueue()
    body = bytearray(b'body')
    queue.leave([body], 1)
    body[:] = b'gone'
    assert queue.take()[0].octets == b'body'


def test_no_more_is_left_than_there_is_room_for():
    queue = WriteQueue()
    for _ in range(MOST):
        assert queue.leave([b'x'], 1)
    assert not queue.leave([b'x'], 1)
    assert len(queue.take()) == MOST
    assert queue.leave([b'x'], 1)


def test_large_writes_are_not_left():
    queue = WriteQueue()
    assert not queue.leave([b'x', bytes(LARGEST)], 2)
    assert queue.leave([b'x', bytes(LARGEST - 1)], 2)


def test_nothing_is_left_while_it_is_closed():
    queue = WriteQueue()
    queue.is_open = False
    assert not queue.leave([b'x'], 1)
    assert queue.take() == []


# -- the transport's


def leave(transport, octets, frames=3):
    """Write as a thread that has nothing to wait for; whether it was left."""
    before = transport.octets_given()
    transport.write_gathered([octets], frames, True)
    return transport.octets_given() == before


def while_sending(*steps):
    """What a send does that finds time for these steps of others."""

    def send(sock, *args):
        for step in steps:
            Background(step).result()
        return sock.send(*args)

    return send


WAYS = {
    'gathered': lambda transport: transport.write_gathered([b'first']),
    'all': lambda transport: transport.write_all([b'first'], soon()),
    'flush': lambda transport: (
        setattr(transport, '_batch', bytearray(b'first')),
        transport.flush(),
    ),
}


@pytest.mark.parametrize('way', WAYS.values(), ids=WAYS)
def test_who_is_writing_sends_what_others_leave_in_one(stream, way):
    transport = stream.transport
    found = []
    steps = [lambda: found.append(leave(transport, b' left')) for _ in range(3)]
    sock = fake(stream, send=[while_sending(*steps)])
    way(transport)
    assert found == [True, True, True]
    assert received(stream, 20) == b'first left left left'
    assert len(sock.calls) == 2
    assert (transport.bytes_sent, transport.messages_sent) == (20, 3)


def test_nothing_is_left_where_nobody_writes(stream):
    sock = fake(stream)
    assert not leave(stream.transport, b'own')
    assert [name for name, _ in sock.calls] == ['send']


def test_what_waits_for_something_is_not_left(stream):
    """Its place and its number are known to have been sent, or not to have been."""
    transport = stream.transport
    transport.write_timeout = 0.05
    with transport._write_lock:
        assert isinstance(Background(transport.write_gathered, [b'x'], 1).error(), TimeoutError)
        assert isinstance(Background(transport.write_all, [b'x']).error(), TimeoutError)
    transport.write(b'own')
    assert received(stream, 3) == b'own'


def test_what_was_left_goes_ahead_of_every_later_write(stream):
    """Whoever is to send it may not have come to that yet, and the next is of the same thread."""
    transport = stream.transport
    transport._queue.leave([b'left'], 1)
    transport.write(b' written')
    transport._queue.leave([b' left'], 1)
    transport.write_gathered([b' gathered'])
    transport._batch += b' late'
    transport._queue.leave([b' left'], 1)
    transport._queue.leave([b' later'], 1)
    transport.flush()
    whole = b'left written left gathered late left later'
    assert received(stream, len(whole)) == whole


def test_what_is_left_at_the_last_moment(stream):
    """The writer is gone before it is in the queue: whoever left it sends it."""
    transport = stream.transport
    tried, gone = threading.Event(), threading.Event()
    leaving = []

    class Late(WriteQueue):
        def leave(self, parts, frames):
            tried.set()
            assert gone.wait(SOON)
            return super().leave(parts, frames)

    def send(sock, *args):
        leaving.append(Background(leave, transport, b' left'))
        assert tried.wait(SOON)
        return sock.send(*args)

    transport._queue = Late()
    fake(stream, send=[send])
    transport.write(b'first')
    gone.set()
    leaving[0].result()
    assert received(stream, 10) == b'first left'
    assert not transport._queue


def test_back_pressure_is_felt_by_all(stream):
    """While the peer takes nothing nothing is left: those who publish wait."""
    transport = stream.transport
    transport.write_timeout = 0.05
    stream.fill()
    waiting = Background(transport.write, b'first', soon())
    until(lambda: transport._is_amid_write)
    assert isinstance(Background(leave, transport, b'left').error(), TimeoutError)
    transport.close()
    waiting.error()


def test_what_the_peer_does_not_take_in_time_goes_out_next(stream):
    """The writer's own has left, so that it has nothing to complain of."""
    transport = stream.transport
    transport.write_timeout = 0.05

    def fill(sock, *args):
        assert Background(leave, transport, b' left').result()
        count = sock.send(*args)
        with pytest.raises(BlockingIOError):
            while True:
                sock.send(b'x' * 65536)
        return count

    fake(stream, send=[fill])
    transport.write_gathered([b'first'])
    assert transport.octets_given() == 10
    assert received(stream, 5).startswith(b'first')
    transport.write(b' next')
    assert received(stream, 10).endswith(b' left next')


def test_what_is_left_to_one_whose_write_is_cut_off(stream):
    """It is lost with the stream, and the next write of its thread tells."""
    transport = stream.transport

    def fail(sock, *args):
        assert Background(leave, transport, b'left').result()
        raise ConnectionResetError(104, 'reset by the test')

    fake(stream, send=[lambda sock, data: sock.send(data[:3]), fail])
    with pytest.raises(ConnectionResetError, match='reset by the test'):
        transport.write_gathered([b'first'])
    assert not transport._queue
    assert transport.octets_given() == 3
    with pytest.raises(RecoverableConnectionError, match='cut off'):
        leave(transport, b'more')
    assert received(stream, 3) == b'fir'


def test_what_fails_of_others_is_told_by_the_next_write(stream):
    """The writer's own has left."""
    transport = stream.transport

    def fail(sock, *args):
        raise ConnectionResetError(104, 'reset by the test')

    fake(stream, send=[while_sending(lambda: leave(transport, b'left')), fail])
    transport.write(b'own')
    with pytest.raises(RecoverableConnectionError, match='cut off') as excinfo:
        transport.write(b'next')
    assert 'reset by the test' in str(excinfo.value.__cause__)


def test_an_interrupted_write_takes_nothing_of_others_with_it(stream):
    transport = stream.transport

    def interrupt(sock, *args):
        assert Background(leave, transport, b'left').result()
        raise BlockingIOError

    fake(stream, send=[interrupt])

    def raising(*args):
        raise Interrupted

    transport._wait_to_send = raising
    with pytest.raises(Interrupted):
        transport.write_gathered([b'never'])
    assert received(stream, 4) == b'left'


def test_a_batch_puts_off_what_is_left(stream):
    transport = stream.transport
    transport._queue.leave([b'left'], 3)
    transport.begin_batch(BATCH)
    transport.write_gathered([b' put off'])
    assert (transport.octets_given(), transport.bytes_sent) == (12, 0)
    transport.end_batch(BATCH)
    assert received(stream, 12) == b'left put off'


def test_nobody_sends_for_others_for_ever(stream):
    """Who has done so for long takes no more, and whoever comes then waits for a turn."""
    transport = stream.transport
    found = []
    leaving = while_sending(lambda: found.append(transport._queue.leave([b'+'], 1)))
    fake(stream, send=[leaving] * (module.ROUNDS + 1))
    transport.write(b'first')
    assert found == [True] * module.ROUNDS + [False]
    assert received(stream, 5 + module.ROUNDS) == b'first' + b'+' * module.ROUNDS
    assert transport._queue.leave([b'later'], 1)


def test_a_signal_handler_sends_nothing_of_others_amid_a_write(stream):
    transport = stream.transport
    with transport._write_lock:
        transport._queue.leave([b'left'], 1)
        transport._write_lock.acquire()
        transport._release_write_lock()
        assert transport.bytes_sent == 0
    transport._release_write_lock()
    assert received(stream, 4) == b'left'


def test_threads_keep_their_order(stream):
    """Some leave their writes, and write by themselves in between."""
    transport, count = stream.transport, 1000
    fake(stream)  # lets other threads run as it sends, in both builds

    def write(letter):
        for number in range(count):
            frame = encode(1, ord(letter), b'%06d' % number)
            transport.write_gathered([frame], 1, number % 10 != 0)

    letters = 'abcdef'
    peer = Background(received, stream, len(letters) * count * len(encode(1, 1, b'%06d' % 0)))
    for writer in [Background(write, letter) for letter in letters]:
        writer.result()
    octets = peer.result()
    seen = dict.fromkeys(map(ord, letters), 0)
    for offset in range(0, len(octets), len(encode(1, 1, b'%06d' % 0))):
        channel = int.from_bytes(octets[offset + 1 : offset + 3], 'big')
        assert int(octets[offset + 7 : offset + 13]) == seen[channel]
        seen[channel] += 1
    assert set(seen.values()) == {count}
    assert transport.frames_sent == len(letters) * count


def test_nothing_stays_behind(stream):
    """Of some threads that write at the same time; nobody writes behind them."""
    transport, threads, rounds = stream.transport, 6, 300
    fake(stream)
    barrier = threading.Barrier(threads + 1, timeout=SOON)

    def write(letter):
        for _ in range(rounds):
            barrier.wait()
            transport.write_gathered([letter], 1, True)
            barrier.wait()

    writers = [Background(write, b'%d' % number) for number in range(threads)]
    for _ in range(rounds):
        barrier.wait()
        barrier.wait()
        assert sorted(received(stream, threads)) == list(b'012345')
    for writer in writers:
        writer.result()
