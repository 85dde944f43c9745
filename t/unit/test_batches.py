"""What a transport puts off, and when it sends it: over real sockets whose calls are counted."""

from __future__ import annotations

import errno
import os
import time

import pytest

import amqp
from amqp import abstract_transport as module
from amqp.abstract_transport import BATCH_LIMIT
from amqp.deadline import Deadline
from amqp.exceptions import RecoverableConnectionError
from t.helpers.streams import NOW, encode, fake, received, soon, within
from t.helpers.threads import SOON, Background, Interrupted, InterruptedLock, until

ONE, TWO = object(), object()


def sends(sock):
    """How many system calls have sent something, or tried."""
    return len([name for name, _ in sock.calls if name in ('send', 'sendmsg')])


@pytest.fixture
def counted(stream):
    """The stream with a socket that counts, and a batch begun."""
    stream.sock = fake(stream)
    stream.transport.begin_batch(ONE)
    return stream


def test_nothing_is_put_off_outside_of_a_batch(stream):
    sock = fake(stream)
    stream.transport.write(b'one')
    stream.transport.write_gathered([b'two'])
    assert (sends(sock), received(stream, 6)) == (2, b'onetwo')
    stream.transport.flush()
    assert sends(sock) == 2


def test_all_goes_out_in_one_at_the_end(counted):
    transport = counted.transport
    for number in range(1000):
        transport.write_gathered([b'%04d' % number])
    transport.write_all((b'la', b'st'))
    assert (sends(counted.sock), transport.bytes_sent) == (0, 0)
    assert transport.octets_given() == 4004
    transport.end_batch(ONE)
    assert (sends(counted.sock), transport.bytes_sent) == (1, 4004)
    assert transport.octets_given() == 4004
    assert received(counted, 4004) == b''.join(b'%04d' % number for number in range(1000)) + b'last'
    transport.write(b'not put off')
    assert sends(counted.sock) == 2


def test_as_much_as_the_limit_is_put_off(counted):
    counted.transport.write(b'a' * (BATCH_LIMIT - 10))
    counted.transport.write(b'b' * 10)
    assert sends(counted.sock) == 0
    counted.transport.write(b'c')
    assert sends(counted.sock) == 1
    counted.transport.end_batch(ONE)
    expected = b'a' * (BATCH_LIMIT - 10) + b'b' * 10 + b'c'
    assert received(counted, BATCH_LIMIT + 1) == expected


def test_what_is_larger_goes_out_at_once_behind_what_came_before(counted):
    large = b'l' * (BATCH_LIMIT + 1)
    counted.transport.write(b'before')
    peer = Background(received, counted, len(large) + 11)
    counted.transport.write_gathered([b'l', memoryview(large)[1:]])
    assert not counted.transport._batch
    counted.transport.write(b'after')
    counted.transport.end_batch(ONE)
    assert peer.result() == b'before' + large + b'after'


def test_batches_nest_and_overlap(counted):
    transport = counted.transport
    transport.begin_batch(TWO)
    transport.write(b'one')
    transport.end_batch(ONE)
    transport.write(b'two')
    assert sends(counted.sock) == 0
    transport.end_batch(TWO)
    transport.end_batch(TWO)  # once is enough
    transport.write(b'three')
    assert (sends(counted.sock), received(counted, 11)) == (2, b'onetwothree')


def test_octets_of_the_callers_may_change_afterwards(counted):
    octets = bytearray(b'kept')
    counted.transport.write_gathered([memoryview(octets)])
    octets[:] = b'lost'
    counted.transport.end_batch(ONE)
    assert received(counted, 4) == b'kept'


# -- before a wait


@pytest.mark.parametrize('timeout', [0, 0.05])
def test_a_read_that_finds_nothing_sends_it(counted, timeout):
    counted.transport.write(b'put off')
    with pytest.raises(TimeoutError):
        counted.transport.read_frame(within(timeout))
    assert received(counted, 7) == b'put off'


def test_a_read_without_a_deadline_sends_it_and_waits(counted):
    counted.transport.write(b'put off')
    reader = Background(counted.transport.read_frame, Deadline(None, 0.0))
    assert received(counted, 7) == b'put off'
    counted.peer.send(encode(8, 0, b''))
    assert reader.result() == (8, 0, b'')


def test_a_read_that_need_not_wait_does_not_send(counted):
    counted.transport.write(b'put off')
    counted.peer.send(encode(1, 1, b'one') + encode(1, 1, b'two'))
    assert counted.transport.read_frame(soon())[2] == b'one'
    assert counted.transport.read_frame(NOW)[2] == b'two'
    assert sends(counted.sock) == 0


def test_a_read_goes_on_where_the_peer_takes_nothing(counted):
    """The peer may do so until somebody reads what it sends."""
    counted.fill()
    counted.transport.write(b'put off')
    reader = Background(counted.transport.read_frame, soon())
    until(lambda: sends(counted.sock) > 1)
    counted.peer.send(encode(1, 1, b'at last'))
    assert reader.result()[2] == b'at last'
    assert counted.transport._batch == b'put off'
    assert not counted.transport.write_torn


def test_a_read_ends_in_time_where_another_thread_writes(counted):
    counted.transport.write(b'put off')
    with counted.transport._write_lock:
        reader = Background(counted.transport.read_frame, within(0.1))
        assert isinstance(reader.error(), TimeoutError)


def test_last_words_are_read_though_nothing_can_be_sent(counted):
    counted.transport.write(b'put off')
    counted.sock.scripts['send'] = [BrokenPipeError(errno.EPIPE, 'Broken pipe')]
    counted.peer.send(encode(1, 0, b'last'))
    counted.peer.send(encode(1, 0, b'words'))
    counted.peer.close()
    # As where the reader finds that there is nothing in the kernel, and more comes then.
    counted.transport.is_drained = True
    assert counted.transport.read_frame(soon())[2] == b'last'
    assert counted.transport.read_frame(soon())[2] == b'words'
    with pytest.raises(ConnectionResetError):
        counted.transport.read_frame(soon())


def test_an_error_of_writing_is_raised_where_nothing_is_to_be_read(counted):
    counted.transport.write(b'put off')
    counted.sock.scripts['send'] = [BrokenPipeError(errno.EPIPE, 'Broken pipe')]
    with pytest.raises(BrokenPipeError):
        counted.transport.read_frame(soon())
    assert counted.transport.write_torn


# -- what doesn't go out, or not whole


@pytest.mark.parametrize('last', [False, True])
def test_what_is_not_taken_in_time_stays_and_goes_first(counted, last):
    transport = counted.transport
    transport.write_timeout = 0.02
    filled = 0
    try:
        while True:
            filled += counted.sock.send(b'x' * 65536)
    except BlockingIOError:
        pass
    transport.write(b'put off ')
    with pytest.raises(TimeoutError):
        if last:
            transport.end_batch(ONE)
        else:
            transport.flush()
    assert transport._batch == b'put off '
    with pytest.raises(TimeoutError):
        transport.write(b'l' * (BATCH_LIMIT + 1))
    assert not transport.write_torn
    peer = Background(received, counted, filled + 13)
    transport.write_timeout = SOON
    transport.write(b'after')
    transport.end_batch(ONE)
    assert peer.result()[filled:] == b'put off after'


def test_a_part_that_was_taken_is_not_sent_again(counted):
    transport = counted.transport
    transport.write(b'0123456789')
    counted.sock.scripts['send'] = [
        lambda sock, octets: sock.send(octets[:4]),
        BlockingIOError(),
    ]
    transport._ambient_timeout = 0
    with pytest.raises(TimeoutError):
        transport.flush(NOW)
    assert (bytes(transport._batch), transport.bytes_sent) == (b'456789', 4)
    transport._ambient_timeout = None
    transport.write(b'abc')
    assert transport.octets_given() == 13
    transport.end_batch(ONE)
    assert received(counted, 13) == b'0123456789abc'


def test_an_interrupted_call_is_repeated(counted):
    counted.sock.scripts['send'] = [InterruptedError()]
    counted.transport.write(b'once')
    counted.transport.end_batch(ONE)
    assert received(counted, 4) == b'once'


@pytest.mark.parametrize('error', [Interrupted(), ConnectionResetError(errno.ECONNRESET, 'reset')])
def test_an_error_in_the_middle_leaves_it_broken(counted, error):
    def fail(sock, octets):
        sock.send(octets[:4])
        raise error

    counted.transport.write(b'0123456789')
    counted.sock.scripts['send'] = [fail]
    with pytest.raises(type(error)):
        counted.transport.end_batch(ONE)
    assert counted.transport.write_torn
    with pytest.raises(RecoverableConnectionError, match='cut off'):
        counted.transport.write(b'never')
    counted.transport.close()
    assert received(counted, 4) == b'0123'


def test_the_kernels_timeout_is_a_lost_connection(counted):
    counted.sock.scripts['send'] = [TimeoutError(errno.ETIMEDOUT, 'timed out')]
    counted.transport.write(b'never')
    with pytest.raises(ConnectionAbortedError):
        counted.transport.end_batch(ONE)


@pytest.mark.skipif(amqp.speedups == 'compiled', reason='no handler runs within C')
def test_a_signal_while_the_lock_is_taken_loses_nothing(counted):
    counted.transport._write_lock = InterruptedLock(counted.transport._write_lock)
    with pytest.raises(Interrupted):
        counted.transport.write(b'never')
    assert counted.transport.octets_given() == 0
    counted.transport.write(b'put off')
    counted.transport._write_lock = InterruptedLock(counted.transport._write_lock)
    with pytest.raises(Interrupted):
        counted.transport.end_batch(ONE)
    counted.transport.flush()
    assert received(counted, 7) == b'put off'


# -- the end


def test_nothing_is_put_off_for_a_stream_that_is_closed(counted):
    counted.transport.write(b'lost')
    counted.transport.close()
    with pytest.raises(ConnectionAbortedError):
        counted.transport.write(b'never')
    with pytest.raises(ConnectionAbortedError):
        counted.transport.write_gathered([b'never'])
    with pytest.raises(ConnectionAbortedError):
        counted.transport.end_batch(ONE)


def test_a_closed_stream_without_anything_put_off_ends_in_silence(counted):
    counted.transport.close()
    counted.transport.end_batch(ONE)


def test_a_forked_child_sends_nothing(counted, monkeypatch):
    counted.transport.write(b'the parent sends it')
    with monkeypatch.context() as patch:
        patch.setattr(module, 'fork_generation', lambda: 12345)
        counted.transport.flush()
        # Where a thread that isn't there holds the lock, too.
        with monkeypatch.context() as locked:
            locked.setattr(counted.transport, '_write_lock', None)
            counted.transport.end_batch(ONE)
        assert sends(counted.sock) == 0
    counted.transport.flush()
    assert received(counted, 19) == b'the parent sends it'


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork here')
def test_a_real_child_sends_nothing(counted):
    counted.transport.write(b'once')
    child = os.fork()
    if not child:
        try:
            counted.transport.end_batch(ONE)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    counted.transport.end_batch(ONE)
    counted.transport.close()
    assert received(counted, 4) == b'once'
    assert counted.peer.recv(100) == b''


# -- threads


def test_at_the_end_what_another_thread_puts_off_is_sent_too(counted):
    """It may have begun before, and have seen the batch."""
    transport = counted.transport
    with transport._write_lock:
        ending = Background(transport.end_batch, ONE)
        until(lambda: not transport._batches)
        transport._batch += b'late'
    ending.result()
    assert received(counted, 4) == b'late'


def test_threads_keep_their_order_and_lose_nothing(stream):
    """Some write within batches, some without; small and large."""
    transport, count = stream.transport, 300

    def write(letter, batches):
        batch = object()
        for number in range(count):
            if batches and number % 10 == 0:
                transport.begin_batch(batch)
            size = BATCH_LIMIT if number % 50 == 0 else 10
            frame = encode(1, ord(letter), b'%06d' % number + b'x' * size)
            transport.write_gathered([frame])
            if batches and number % 10 == 9:
                transport.end_batch(batch)

    frames = count * 4
    sizes = (len(encode(1, 1, b'')) + 6) * frames + 4 * (6 * BATCH_LIMIT + (count - 6) * 10)
    peer = Background(received, stream, sizes)
    writers = [Background(write, letter, letter in 'ab') for letter in 'abcd']
    for writer in writers:
        writer.result()
    octets = peer.result()
    seen = {ord(letter): 0 for letter in 'abcd'}
    offset = 0
    while offset < len(octets):
        channel = int.from_bytes(octets[offset + 1 : offset + 3], 'big')
        size = int.from_bytes(octets[offset + 3 : offset + 7], 'big')
        assert int(octets[offset + 7 : offset + 13]) == seen[channel]
        seen[channel] += 1
        offset += 8 + size
    assert set(seen.values()) == {count}
    assert not transport._batch


def test_it_never_waits_to_begin(stream):
    with stream.transport._write_lock:
        Background(stream.transport.begin_batch, ONE).result()


def test_to_end_it_waits_no_longer_than_a_write_may(counted):
    counted.transport.write_timeout = 0.05
    counted.transport.write(b'put off')
    with counted.transport._write_lock:
        began = time.monotonic()
        assert isinstance(Background(counted.transport.end_batch, ONE).error(), TimeoutError)
        assert time.monotonic() - began < SOON / 2
    counted.transport.write(b' first')
    assert received(counted, 13) == b'put off first'


def test_what_is_put_off_is_counted_at_once(counted):
    transport = counted.transport
    transport.write_all([b'one', b'two', b'three'], None, 3)
    transport.write_gathered([b'four'], 1)
    assert (transport.frames_sent, transport.messages_sent, transport.bytes_sent) == (4, 1, 0)
    transport.end_batch(ONE)
    assert (transport.frames_sent, transport.messages_sent, transport.bytes_sent) == (4, 1, 15)


def test_what_cannot_be_put_off_as_a_whole_is_not_in_part(counted):
    """As where a signal handler raises in the midst of it."""

    class Part(list):
        """What can't be joined."""

    with pytest.raises(TypeError):
        counted.transport.write_gathered([b'begun', Part(b'rest')])
    assert counted.transport.octets_given() == 0
    counted.transport.write(b'whole')
    counted.transport.flush()
    assert received(counted, 5) == b'whole'
