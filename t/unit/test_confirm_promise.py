"""Promises that are settled in one thread and listened to in others."""

from __future__ import annotations

import threading

import pytest
from vine import barrier, promise

from amqp.confirm_promise import ConfirmPromise
from t.helpers.threads import SOON, Background


@pytest.fixture
def made():
    return ConfirmPromise()


def test_it_is_a_promise_of_vine(made):
    assert isinstance(made, promise)
    assert not made.ready
    assert not made.failed
    assert made.is_heard() is False


def test_callbacks_before_and_behind_the_settling(made):
    seen = []
    first = made.then(seen.append)
    made.then(lambda message: seen.append(message * 2))
    made.fulfil('x')
    last = made.then(seen.append)
    assert seen == ['x', 'xx', 'x']
    assert all(isinstance(each, promise) and each.ready for each in (first, last, made))
    assert made.value == (('x',), {})


def test_errors_before_and_behind_the_settling(made):
    seen, error = [], ValueError('mine')
    made.on_error = seen.append
    made.then(print, seen.append)
    made.fail(error)
    made.then(print, seen.append)
    silent = made.then(print)
    assert seen == [error] * 3
    assert made.failed
    assert made.reason is silent.reason is error


def test_only_the_first_outcome_counts(made):
    seen = []
    made.then(seen.append, seen.append)
    made.fulfil('x')
    made.fulfil('y')
    made.fail(ValueError())
    assert seen == ['x']
    assert made.ready
    assert not made.failed


def test_what_a_callback_raises_is_the_settlers(made):
    def callback(message):
        raise ValueError(message)

    made.then(callback)
    with pytest.raises(ValueError, match='x'):
        made.fulfil('x')
    assert made.ready


@pytest.mark.parametrize(
    ('listen', 'heard'),
    [
        (lambda made: made.then(print), False),
        (lambda made: made.then(promise(print)), False),
        (lambda made: made.then(print, print), True),
        (lambda made: made.then(promise(print, on_error=print)), True),
        (lambda made: made.then(barrier()), True),
        (lambda made: setattr(made, 'on_error', print), True),
    ],
)
def test_whether_an_error_is_heard(made, listen, heard):
    listen(made)
    assert made.is_heard() is heard


def test_cancelled(made):
    seen = []
    before = made.then(seen.append, seen.append)
    made.cancel()
    made.fulfil('x')
    behind = made.then(seen.append, seen.append)
    assert seen == []
    assert before.cancelled
    assert behind.cancelled


def test_no_callback_gets_lost_between_two_threads():
    for _ in range(300):
        made, seen = ConfirmPromise(), []
        settler = Background(made.fulfil, 'x')
        for _ in range(3):
            made.then(seen.append)
        settler.result()
        assert seen == ['x'] * 3


def test_one_that_is_settled_while_a_callback_is_added():
    """Who settles it waits until the callback is there."""
    looked, go_on, waits = threading.Event(), threading.Event(), threading.Event()
    lock, seen = threading.Lock(), []

    class Slow(ConfirmPromise):
        @property
        def _outcome(self):
            found = self.__dict__.get('_outcome')
            if not looked.is_set():
                looked.set()
                assert go_on.wait(SOON)
            return found

        @_outcome.setter
        def _outcome(self, outcome):
            self.__dict__['_outcome'] = outcome

    class Guard:
        def __enter__(self):
            if not lock.acquire(blocking=False):
                waits.set()
                lock.acquire()

        def __exit__(self, *exc_info):
            lock.release()

    made = Slow()
    made._guard = Guard()
    adding = Background(made.then, seen.append)
    assert looked.wait(SOON)
    settling = Background(made.fulfil, 'x')
    assert waits.wait(SOON)
    go_on.set()
    adding.result()
    settling.result()
    assert seen == ['x']
