"""The lock that knows its owner: one thread has it, the others wait, nobody is forgotten."""

from __future__ import annotations

import signal
import threading
import time

import pytest

import amqp
from amqp.locks import OwnedLock
from t.helpers.threads import SOON, Background, Interrupted, until


@pytest.fixture
def lock():
    return OwnedLock()


def take_and_give_back(lock, *args):
    """As a thread of its own would; whether it got it."""
    taken = lock.acquire(*args)
    if taken:
        lock.release()
    return taken


def test_one_thread_at_a_time(lock):
    assert lock.acquire()
    assert Background(lock.acquire, False).result() is False
    lock.release()
    assert Background(lock.acquire, False).result() is True


def test_its_owner_may_take_it_again(lock):
    assert lock.acquire()
    assert lock.acquire(False)
    assert lock.acquire(timeout=SOON)
    for _ in range(2):
        lock.release()
        assert not Background(lock.acquire, False).result()
    lock.release()
    assert Background(take_and_give_back, lock).result()


def test_whose_it_is(lock):
    assert not lock._is_owned()
    with lock:
        assert lock._is_owned()
        assert not Background(lock._is_owned).result()
    assert not lock._is_owned()


def test_an_error_within_the_block_gives_it_back(lock):
    with pytest.raises(Interrupted), lock:
        raise Interrupted
    assert Background(take_and_give_back, lock, False).result()


def test_who_has_it_not_cannot_give_it_back(lock):
    with pytest.raises(RuntimeError):
        lock.release()
    with lock:
        assert isinstance(Background(lock.release).error(), RuntimeError)
        assert lock._is_owned()


def test_who_waits_gets_it(lock):
    lock.acquire()
    waiting = [Background(take_and_give_back, lock) for _ in range(5)]
    waiting += [Background(take_and_give_back, lock, True, SOON) for _ in range(5)]
    lock.release()
    assert all(each.result() for each in waiting)


@pytest.mark.skipif(amqp.speedups == 'pure', reason='the lock is one of Python there')
def test_who_waits_is_woken_once_while_it_cannot_run(lock, monkeypatch):
    """The GIL may stay for milliseconds with a thread that takes the lock again and again."""
    has_gil = threading.Event()
    wakings = []

    class Slow:
        def __init__(self):
            self._lock = make()

        def acquire(self, **timeout):
            if not self._lock.acquire(**timeout):
                return False
            return not timeout or has_gil.wait(SOON)

        def release(self):
            wakings.append(self)
            self._lock.release()

    make = threading.Lock

    def wait_slowly():
        monkeypatch.setattr(threading, 'Lock', Slow)
        return take_and_give_back(lock)

    lock.acquire()
    waiting = Background(wait_slowly)
    until(lambda: lock._waiting)
    monkeypatch.undo()
    for _ in range(100):
        lock.release()
        lock.acquire()
    assert len(wakings) == 1
    has_gil.set()
    lock.release()
    assert waiting.result()


def test_a_wait_ends(lock):
    with lock:
        began = time.monotonic()
        assert Background(lock.acquire, True, 0.05).result() is False
        assert time.monotonic() - began >= 0.05
        assert Background(lock.acquire, True, 0.0).result() is False


@pytest.mark.parametrize('timeout', [None, '1', []])
def test_what_is_no_number_of_seconds(lock, timeout):
    with pytest.raises(TypeError):
        lock.acquire(True, timeout)
    assert not lock._is_owned()


def test_one_that_gave_up_takes_nobodys_turn(lock):
    """Some wait for so short a time that they are woken in vain now and then."""
    lock.acquire()
    impatient = [Background(take_and_give_back, lock, True, 0.001 * n) for n in range(20)]
    patient = [Background(take_and_give_back, lock) for _ in range(5)]
    until(lambda: impatient[10].error() is None)
    lock.release()
    assert all(each.result() for each in patient)
    for each in impatient:
        each.result()
    assert lock.acquire(False)


def test_a_storm_of_threads_counts_right(lock):
    count = 0

    def add():
        nonlocal count
        for _ in range(2000):
            with lock:
                before = count
                if not before % 50:
                    time.sleep(0)  # have another thread try
                count = before + 1

    for each in [Background(add) for _ in range(6)]:
        each.result()
    assert count == 12_000


@pytest.mark.skipif(not hasattr(signal, 'setitimer'), reason='no such signals here')
def test_a_storm_of_signals_leaves_it_to_be_had():
    """Whether or not they fall into a wait: who was interrupted there has it not."""
    lock = OwnedLock()
    held = threading.Event()
    ends = time.monotonic() + 0.5

    def hold_again_and_again():
        while time.monotonic() < ends:
            with lock:
                held.set()
                time.sleep(0.0002)

    def interrupt(*_):
        raise Interrupted

    others = [Background(hold_again_and_again) for _ in range(2)]
    held.wait(SOON)
    before = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    try:
        while time.monotonic() < ends:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
                taken = lock.acquire()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                interrupted += 1
            while lock._is_owned():
                lock.release()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    for each in others:
        each.result()
    assert taken
    assert interrupted
    assert Background(take_and_give_back, lock, True, SOON).result()
