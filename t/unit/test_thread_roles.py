"""The reader's role: one thread has it, the others wait, nobody is forgotten. And callbacks'."""

from __future__ import annotations

import threading
import time

import pytest

import amqp
from amqp.deadline import Deadline
from amqp.thread_roles import CallbackThreads, ReaderRole
from t.helpers.threads import SOON, Background, Interrupted, until

FOR_EVER = Deadline(None, 0.0)


def never():
    return False


def soon(seconds):
    return Deadline(seconds, time.monotonic())


@pytest.fixture
def role():
    return ReaderRole()


def test_one_thread_at_a_time(role):
    assert role.try_take()
    assert not Background(role.try_take).result()
    role.step_down()
    assert Background(role.try_take).result()


def test_its_thread_may_take_it_again(role):
    assert role.take_or_wait(never, FOR_EVER)
    assert role.take_or_wait(never, FOR_EVER)
    role.step_down()
    assert not Background(role.try_take).result()
    role.step_down()
    assert Background(role.try_take).result()


def test_whose_it_is(role):
    assert not role.is_mine()
    assert role.try_take()
    assert role.is_mine()
    assert not Background(role.is_mine).result()
    Background(role.step_down).result()  # has nothing to give up
    assert role.is_mine()
    role.step_down()
    assert not role.is_mine()
    role.step_down()


def test_who_waits_is_woken_by_the_stepping_down(role):
    assert role.try_take()
    waiter = Background(role.take_or_wait, never, FOR_EVER)
    until(lambda: role._waiting)
    role.step_down()
    waiter.result()
    assert not role._waiting


def test_who_has_nothing_to_give_up_wakes_nobody(role):
    assert role.try_take()
    waiter = Background(role.take_or_wait, never, FOR_EVER)
    until(lambda: role._waiting)
    [woken] = role._waiting
    Background(role.step_down).result()
    assert woken.locked()
    role.step_down()
    waiter.result()


def test_who_was_woken_already_stops_nobody_from_being_woken(role):
    """Two threads wake all at the same moment, or one that was woken hasn't gone yet."""
    assert role.try_take()
    role._waiting.append(threading.Lock())
    waiter = Background(role.take_or_wait, never, FOR_EVER)
    until(lambda: len(role._waiting) == 2)
    role.step_down()
    assert waiter.result() is False
    assert len(role._waiting) == 1


def test_whose_wait_is_ended_by_an_exception_waits_no_longer(role):
    def interrupted():
        raise Interrupted

    assert role.try_take()
    assert isinstance(Background(role.take_or_wait, interrupted, FOR_EVER).error(), Interrupted)
    assert not role._waiting


def test_a_very_long_wait(role):
    assert role.try_take()
    waiter = Background(role.take_or_wait, never, soon(1e300))
    until(lambda: role._waiting)
    role.step_down()
    assert waiter.result() is False


def test_all_who_wait_are_woken(role):
    assert role.try_take()
    waiters = [Background(role.take_or_wait, never, FOR_EVER) for _ in range(8)]
    until(lambda: len(role._waiting) == 8)
    role.wake_all()
    assert [waiter.result() for waiter in waiters] == [False] * 8


def test_whose_wait_is_over_does_not_wait(role):
    assert role.try_take()
    assert Background(role.take_or_wait, lambda: True, FOR_EVER).result() is False


def test_the_deadline_holds_while_another_reads(role):
    assert role.try_take()
    began = time.monotonic()
    waiter = Background(role.take_or_wait, never, soon(0.05))
    # The wait itself ends quietly: the caller looks again whether it is over.
    assert waiter.result() is False
    assert time.monotonic() - began >= 0.05
    assert isinstance(Background(role.take_or_wait, never, soon(0)).error(), TimeoutError)
    assert not role._waiting


def test_a_role_to_be_had_is_had_at_a_deadline_that_has_passed(role):
    assert role.take_or_wait(never, soon(0))


def test_a_step_down_between_the_two_tries_is_not_missed(role):
    """The reader that steps down after our first try either leaves the role, or sees us."""

    assert role.try_take()
    takes = threading.Barrier(2, timeout=SOON)

    def take_turns():
        takes.wait()
        while not role.take_or_wait(never, soon(SOON)):
            pass
        role.step_down()

    for _ in range(200):
        other = Background(take_turns)
        takes.wait()
        role.step_down()  # somewhere within the other's taking or waiting
        other.result()
        assert role.try_take()


@pytest.mark.skipif(amqp.speedups == 'compiled', reason='there is no lock to watch')
def test_who_waits_is_counted_before_the_second_try(role):
    between, released = threading.Event(), threading.Event()
    tries = []

    class Watched:
        def __init__(self, lock):
            self.lock = lock

        def acquire(self, blocking=True):
            tries.append(blocking)
            if len(tries) == 2:
                between.set()
                assert released.wait(10)
            return self.lock.acquire(blocking=blocking)

    assert role.try_take()
    lock = role._role
    role._role = Watched(lock)
    waiter = Background(role.take_or_wait, never, FOR_EVER)
    assert between.wait(10)
    assert len(role._waiting) == 1  # a step down sees it from now on
    lock.release()
    released.set()
    assert waiter.result() is True
    assert tries == [False, False]


@pytest.mark.parametrize('threads', [2, 8])
def test_nobody_is_left_behind(role, threads):
    """Many pass the role on; each waits until its own turn has been counted."""
    turns = []

    def wait_for_turn(number):
        while len(turns) < number:
            if role.take_or_wait(lambda: len(turns) >= number, soon(10)):
                turns.append(None)
                role.step_down()

    def take_turns():
        for _ in range(200):
            wait_for_turn(len(turns) + 1)

    for worker in [Background(take_turns) for _ in range(threads)]:
        worker.result()
    assert len(turns) >= 200


def test_only_one_of_many_gets_it(role):
    """Real threads that try at the same moment, again and again."""
    threads, rounds = 4, 300
    start = threading.Barrier(threads, timeout=SOON)
    held, most = [], []

    def use():
        for _ in range(rounds):
            start.wait()
            if role.try_take():
                held.append(None)
                most.append(len(held))
                held.pop()
                role.step_down()

    for worker in [Background(use) for _ in range(threads)]:
        worker.result()
    assert set(most) == {1}
    assert len(most) >= rounds
    assert role.try_take()


def test_who_lets_a_taken_role_go_needs_as_many_steps(role):
    for _ in range(50):
        assert role.try_take()
    for _ in range(49):
        role.step_down()
        assert not Background(role.try_take).result()
    role.step_down()
    assert Background(role.try_take).result()


class Lightweight:
    """Threads as gevent and eventlet have them: many within one of the system's."""

    def __init__(self, monkeypatch):
        self.current = 1
        monkeypatch.setattr(threading, 'get_ident', lambda: self.current)


@pytest.fixture
def lightweight(monkeypatch):
    return Lightweight(monkeypatch)


@pytest.mark.skipif(amqp.speedups == 'pure', reason="RLock is gevent's own where it is at work")
def test_the_role_is_one_greenlets(lightweight):
    role = ReaderRole()
    assert role.try_take()
    lightweight.current = 2**64 - 1
    assert not role.is_mine()
    assert not role.try_take()
    role.step_down()
    lightweight.current = 1
    assert role.is_mine()
    role.step_down()
    lightweight.current = 2
    assert role.try_take()


# -- threads within callbacks


def test_the_threads_within_callbacks():
    threads = CallbackThreads()
    assert not threads.has_me()
    threads.enter()
    assert threads.has_me()
    assert not Background(threads.has_me).result()
    Background(threads.leave).result()  # is not in one
    assert threads.has_me()
    threads.leave()
    assert not threads.has_me()
    threads.leave()


def test_many_threads_within_callbacks():
    threads = CallbackThreads()
    count, rounds = 5, 200
    together = threading.Barrier(count, timeout=SOON)

    def use(number):
        for turn in range(rounds):
            inside = (turn + number) % 3 > 0
            if inside:
                threads.enter()
            together.wait()
            assert threads.has_me() == inside
            together.wait()
            if inside:
                threads.leave()
            assert not threads.has_me()

    for worker in [Background(use, number) for number in range(count)]:
        worker.result()


def test_greenlets_within_callbacks(lightweight):
    threads = CallbackThreads()
    threads.enter()
    lightweight.current = 2
    assert not threads.has_me()
    threads.enter()
    lightweight.current = 1
    threads.leave()
    assert not threads.has_me()
    lightweight.current = 2
    assert threads.has_me()
