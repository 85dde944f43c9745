"""The queue of callbacks and reports: what runs where, and in which order."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager

import pytest

import amqp
from amqp.events import EventQueue
from t.helpers.threads import Interrupted


class Channel:
    def __init__(self):
        self.incarnation = 0


@pytest.fixture
def channel():
    return Channel()


@pytest.fixture
def events():
    return EventQueue()


@contextmanager
def collecting(events):
    outer = events.begin_collecting()
    try:
        yield
    finally:
        events.end_collecting(outer)


def in_thread(function, *args):
    """What a function returns in another thread, which has ended then."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function(*args)))
    thread.start()
    thread.join(10)
    return found[0]


def raiser(error):
    def report(*args):
        raise error

    return report


def test_while_collecting_callbacks_are_put_off_and_keep_their_order(events, channel):
    seen = []
    with collecting(events):
        assert events.is_collecting_here()
        events.add(channel, seen.append, 1)
        events.add(channel, lambda *args: seen.append(args), 2, 3)
    assert not events.is_collecting_here()
    assert (seen, len(events), events.pending()) == ([], 2, True)
    assert events.run_next()
    assert seen == [1]
    assert events.run_next()
    assert seen == [1, (2, 3)]
    assert not events.run_next()
    assert not events.pending()


def test_outside_of_it_they_run_at_once(events, channel):
    seen = []
    events.add(channel, seen.append, 1)
    assert seen == [1]
    with pytest.raises(KeyError):
        events.add_report(channel, raiser(KeyError('x')))
    with collecting(events):  # in this thread, not in another
        in_thread(events.add, channel, seen.append, 2)
        assert not in_thread(events.is_collecting_here)
    assert seen == [1, 2]
    assert not events.pending()


def test_collecting_nests(events, channel):
    with collecting(events):
        with collecting(events):
            pass
        assert events.is_collecting_here()
    assert not events.is_collecting_here()


def test_collecting_ends_with_an_error_too(events):
    with pytest.raises(KeyError), collecting(events):
        raise KeyError
    assert not events.is_collecting_here()


def test_reports_are_apart_from_callbacks(events, channel):
    with collecting(events):
        events.add_report(channel, raiser(KeyError('first')))
        events.add_report(channel, lambda: None)
    assert (len(events), events.pending()) == (0, True)
    assert not events.run_next()
    with pytest.raises(KeyError, match='first'):
        events.raise_next()
    assert events.raise_next()  # had nothing to say any more
    assert not events.raise_next()


def test_what_a_channel_added_before_it_lost_its_state_is_passed_over(events, channel):
    seen, other = [], Channel()
    with collecting(events):
        events.add(channel, seen.append, 'old')
        events.add_report(channel, raiser(KeyError('old')))
        events.add(other, seen.append, 'other')
        channel.incarnation += 1
        events.add(channel, seen.append, 'new')
        events.add_report(channel, raiser(KeyError('new')))
    while events.run_next():
        pass
    assert seen == ['other', 'new']
    with pytest.raises(KeyError, match='new'):
        events.raise_next()
    assert not events.raise_next()


@pytest.mark.skipif(amqp.speedups == 'compiled', reason='the queue is out of reach')
def test_a_callback_that_another_thread_takes_first(events, channel):
    """It falls between the look at the queue and the taking."""
    seen, others = [], []

    class Overtaken(deque):
        def __bool__(self):
            found = len(self) > 0
            if found and not others:
                others.append(None)
                others.append(in_thread(events.run_next))
            return found

    events._callbacks = Overtaken()
    events.postpone(channel, lambda: seen.append(threading.get_ident()))
    assert events.run_next() is False
    assert others == [None, True]
    assert len(seen) == 1
    assert seen != [threading.get_ident()]


def test_clear(events, channel):
    with collecting(events):
        events.add(channel, pytest.fail, 'must not run')
        events.add_report(channel, pytest.fail, 'must not run')
    events.clear()
    assert not events.pending()
    assert not events.run_next()
    assert not events.raise_next()


def test_a_callback_that_raises_is_over(events, channel):
    with collecting(events):
        events.add(channel, raiser(KeyError('x')))
    with pytest.raises(KeyError):
        events.run_next()
    assert events.may_run_here()
    assert not events.pending()


def test_no_callback_runs_within_another(events, channel):
    seen = []

    def nested():
        seen.append(events.may_run_here())
        with collecting(events):
            events.add(channel, lambda: seen.append(events.may_run_here()))
        events.run_next()  # a drain from within a callback, which its author asked for
        seen.append(events.may_run_here())

    with collecting(events):
        events.add(channel, nested)
    events.run_next()
    assert seen == [False, False, False]
    assert events.may_run_here()


def test_without_a_drainer_anybody_may_run_them(events):
    assert events.may_run_here()
    assert in_thread(events.may_run_here)


def test_where_a_thread_drains_they_are_its_business(events):
    events.note_drainer(polls=False)
    assert events.may_run_here()
    assert not in_thread(events.may_run_here)


def test_a_thread_that_polls_is_no_such_thread(events):
    events.note_drainer(polls=False)
    events.note_drainer(polls=True)
    assert in_thread(events.may_run_here)


def test_a_drainer_that_has_ended_drains_no_more(events):
    in_thread(events.note_drainer, False)
    assert events.may_run_here()


def test_the_latest_drainer_counts(events):
    ready, done = threading.Event(), threading.Event()

    def drain():
        events.note_drainer(polls=False)
        ready.set()
        done.wait(10)

    events.note_drainer(polls=False)
    thread = threading.Thread(target=drain)
    thread.start()
    assert ready.wait(10)
    assert not events.may_run_here()
    events.note_drainer(polls=False)
    assert events.may_run_here()
    done.set()
    thread.join(10)


# -- lasting callbacks


def test_a_lasting_callback_runs_in_its_turn(events, channel):
    seen = []
    with collecting(events):
        events.add(channel, seen.append, 1)
        events.add_lasting(seen.append, 2)
        events.add(channel, seen.append, 3)
    assert events.has_lasting()
    while events.run_next():
        pass
    assert seen == [1, 2, 3]
    assert not events.has_lasting()
    events.add_lasting(seen.append, 4)  # this thread takes nothing in
    assert seen == [1, 2, 3, 4]


def test_a_lasting_callback_outlives_its_channel(events, channel):
    seen = []
    with collecting(events):
        events.add(channel, seen.append, 'gone')
        events.add_lasting(seen.append, 1)
        channel.incarnation += 1
        events.add_behind_loss(seen.append, 2)
    while events.run_next():
        pass
    assert seen == [1, 2]


def test_a_lasting_callback_outlives_its_connection(events):
    seen = []
    with collecting(events):
        events.add_lasting(seen.append, 1)
    events.add_behind_loss(seen.append, 2)  # never at once
    assert seen == []
    events.clear()
    assert not events.run_next()
    events.run_lasting()
    assert seen == [1, 2]
    events.run_lasting()
    assert seen == [1, 2]


def test_what_was_run_out_of_turn_is_not_run_again(events):
    seen = []
    events.add_behind_loss(seen.append, 1)
    events.run_lasting()
    assert events.run_next()  # its turn comes, and there is nothing to do
    assert seen == [1]


def test_lasting_callbacks_do_not_run_while_frames_are_taken_in(events):
    seen = []
    with collecting(events):
        events.add_lasting(seen.append, 1)
        events.run_lasting()
        assert seen == []
    events.run_lasting()
    assert seen == [1]


def test_errors_of_lasting_callbacks_are_raised_together(events):
    seen = []
    for error in (KeyError('a'), ValueError('b')):
        events.add_behind_loss(raiser(error), None)
        events.add_behind_loss(seen.append, error)
    with pytest.raises(ValueError, match='b') as caught:
        events.run_lasting()
    assert isinstance(caught.value.__context__, KeyError)
    assert len(seen) == 2
    assert not events.has_lasting()


def test_a_thread_that_runs_lasting_callbacks_is_within_one(events):
    events.add_behind_loss(lambda _: seen.append(events.may_run_here()), None)
    seen = []
    assert events.may_run_here()
    events.run_lasting()
    assert seen == [False]


@pytest.mark.skipif(amqp.speedups == 'compiled', reason='no handler runs within C')
@pytest.mark.parametrize('how', ['queued', 'at once'])
def test_an_exception_right_before_a_callback_is_left_leaves_it(events, channel, how):
    threads = events._in_callback

    class Late:
        def __getattr__(self, name):
            return getattr(threads, name)

        def leave(self):
            events._in_callback = threads
            raise Interrupted

    with collecting(events):
        events.add(channel, str, 'x')
    events._in_callback = Late()
    with pytest.raises(Interrupted):
        if how == 'queued':
            events.run_next()
        else:
            events.run(str, 'x')
    assert not threads.has_me()
