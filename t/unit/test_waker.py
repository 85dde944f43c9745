"""What a thread polls beside its socket, so that another can wake it."""

from __future__ import annotations

import select

import pytest

from amqp.waker import Waker
from t.helpers.threads import SOON, Background


@pytest.fixture
def waker():
    made = Waker()
    yield made
    made.close()


def readable(waker, timeout=0):
    return bool(select.select([waker], [], [], timeout)[0])


def test_it_is_readable_from_the_call_until_it_is_heeded(waker):
    assert not readable(waker)
    waker.wake()
    assert readable(waker)
    waker.clear()
    assert not readable(waker)
    waker.clear()


def test_many_calls_are_heeded_at_once(waker):
    for _ in range(100_000):  # more than it has room for
        waker.wake()
    waker.clear()
    assert not readable(waker)


def test_a_thread_that_waits_is_woken(waker):
    waiting = Background(readable, waker, SOON)
    waker.wake()
    assert waiting.result()


def test_a_late_call_does_no_harm(waker):
    waker.close()
    waker.wake()
    waker.close()
