"""The thread that beats: it calls, rests, and ends in each of the ways in which it may."""

from __future__ import annotations

import gc
import sys
import threading

import pytest

from amqp.heartbeat_thread import HeartbeatThread

#: Seconds until something that should be over counts as stuck; and those of a rest without end.
SOON = 10.0
LONG = 3600.0


class Beater:
    """Something to call; its pauses are given."""

    def __init__(self, *pauses):
        self.pauses = list(pauses)
        self.beats = 0
        self.beaten = threading.Event()
        self.threads = set()

    def beat(self):
        self.beats += 1
        self.threads.add(threading.current_thread())
        pause = self.pauses.pop(0) if self.pauses else LONG
        if not self.pauses:
            self.beaten.set()
        return pause


@pytest.fixture
def start():
    started = []

    def make(beater):
        thread = HeartbeatThread(beater.beat)
        started.append(thread)
        thread.start()
        return thread

    yield make
    for thread in started:
        thread.end()
        thread.join()


def has_ended(beater):
    [thread] = beater.threads
    thread.join(SOON)
    return not thread.is_alive()


def test_it_beats_as_often_as_it_is_told(start):
    beater = Beater(0.0, 0.0, 0.001, LONG)
    start(beater)
    assert beater.beaten.wait(SOON)
    assert beater.beats == 4
    [thread] = beater.threads
    assert thread.is_alive()
    assert thread.daemon
    assert thread is not threading.current_thread()


def test_none_is_the_last_beat(start):
    beater = Beater(0.0, None)
    start(beater)
    assert beater.beaten.wait(SOON)
    assert has_ended(beater)
    assert beater.beats == 2


def test_it_ends_in_the_middle_of_a_rest(start):
    beater = Beater(LONG)
    thread = start(beater)
    assert beater.beaten.wait(SOON)
    thread.end()
    thread.join()
    assert has_ended(beater)
    assert beater.beats == 1


def test_it_may_be_ended_twice(start):
    beater = Beater(LONG)
    thread = start(beater)
    assert beater.beaten.wait(SOON)
    for _ in range(3):
        thread.end()
        thread.end()
        thread.join()
    assert has_ended(beater)


def test_ended_before_its_start_it_does_not_beat(start):
    beater = Beater(0.0, 0.0, LONG)
    thread = HeartbeatThread(beater.beat)
    thread.end()
    thread.join()  # there is nothing to wait for
    thread.start()
    thread.join()
    assert not beater.beats


def test_it_may_end_itself(start):
    class EndsItself(Beater):
        def beat(self):
            super().beat()
            self.thread.end()
            self.thread.join()  # not itself
            return LONG

    beater = EndsItself()
    beater.thread = HeartbeatThread(beater.beat)
    beater.thread.start()
    assert beater.beaten.wait(SOON)
    assert has_ended(beater)


def test_it_keeps_nobody_alive_while_it_rests(start):
    """Without the garbage collector: no reference is left over in the thread's frames."""
    beater = Beater(0.0, LONG)
    start(beater)
    assert beater.beaten.wait(SOON)
    threads, beater.threads = beater.threads, None
    [thread] = threads
    gc.disable()
    try:
        del beater
        thread.join(SOON)
        assert not thread.is_alive()
    finally:
        gc.enable()


def test_it_ends_with_garbage_that_is_part_of_a_cycle(start):
    beater = Beater(LONG)
    beater.myself = beater
    thread = beater.heartbeat_thread = HeartbeatThread(beater.beat)
    thread.start()
    assert beater.beaten.wait(SOON)
    [python_thread] = beater.threads
    del beater, thread
    gc.collect()
    python_thread.join(SOON)
    assert not python_thread.is_alive()


@pytest.mark.skipif(sys.platform == 'win32', reason='sends a signal to a thread')
def test_a_signal_handler_may_end_it_while_another_end_is_under_way(start):
    """No lock is held within `end` that a second one, on top of it, would wait for."""
    beater = Beater(LONG)
    thread = start(beater)
    assert beater.beaten.wait(SOON)

    class Reentering:
        """A lock whose release is interrupted."""

        def __init__(self, lock):
            self.lock = lock
            self.interrupted = False

        def release(self):
            if not self.interrupted:
                self.interrupted = True
                thread.end()
            self.lock.release()

    thread._until_ended = Reentering(thread._until_ended)
    thread.end()
    thread.join()
    assert has_ended(beater)
