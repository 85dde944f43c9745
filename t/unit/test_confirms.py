"""Publisher confirms, against a model of what the broker may say."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import amqp
from amqp import confirms as module
from amqp.confirms import Confirmation, PublisherConfirms


def publish(confirms, awaited=False, likeness=None):
    confirmation = Confirmation(awaited)
    confirms.publish(confirmation, likeness)
    return confirmation


LIKENESSES = st.sampled_from([None, 'a', 'b'])


class Confirming(RuleBasedStateMachine):
    """Each message is settled once, by an answer that covers its tag and by no other.

    The model is a list of records, gone through from the start each time.
    """

    def __init__(self):
        super().__init__()
        self.confirms = PublisherConfirms()
        self.published = []  # (the confirmation, its record) by tag, from 1
        self.unlike = None
        self.untold = []  # tags that failed, as long as nobody was told

    def records(self, *outcomes):
        return [record for _, record in self.published if record['outcome'] in outcomes]

    @rule(awaited=st.booleans(), likeness=LIKENESSES)
    def publish(self, awaited, likeness):
        confirmation = publish(self.confirms, awaited, likeness)
        tag = len(self.published) + 1
        assert (confirmation.delivery_tag, confirmation.awaited) == (tag, awaited)
        record = {'tag': tag, 'awaited': awaited, 'likeness': likeness}
        self.published.append((confirmation, {**record, 'outcome': None, 'returned': None}))

    @precondition(lambda self: self.published and self.published[-1][1]['outcome'] is None)
    @rule()
    def withdraw(self):
        confirmation, record = self.published[-1]
        if record['returned'] is None:  # what has not been sent can't have come back
            self.confirms.withdraw(confirmation)
            self.published.pop()

    @rule(likeness=st.sampled_from(['a', 'b', 'c']))
    def message_returned(self, likeness):
        copy = object()
        self.confirms.message_returned(copy, likeness)
        for record in self.records(None):
            if record['likeness'] == likeness and record['returned'] is None:
                record['returned'] = copy
                return
        self.unlike = copy

    @rule(data=st.data(), multiple=st.booleans(), acknowledged=st.booleans())
    def settle(self, data, multiple, acknowledged):
        named = data.draw(st.integers(0, len(self.published) + 2))
        covered = [
            record
            for record in self.records(None)
            if record['tag'] == named or (multiple and (named == 0 or record['tag'] < named))
        ]
        settled = self.confirms.settle(named, multiple, acknowledged)
        assert [each.delivery_tag for each in settled] == [record['tag'] for record in covered]
        if covered and self.unlike is not None:
            covered[-1]['returned'] = covered[-1]['returned'] or self.unlike
            self.unlike = None
        for record in covered:
            record['outcome'] = acknowledged
            failed = not acknowledged or record['returned'] is not None
            if failed and not record['awaited']:
                self.untold.append(record['tag'])

    @rule(data=st.data())
    def tell(self, data):
        told = data.draw(st.sets(st.sampled_from(self.untold))) if self.untold else set()
        failures = [each for each in self.confirms.in_question() if each.delivery_tag in told]
        assert self.confirms.forget(failures) == 0
        self.untold = [tag for tag in self.untold if tag not in told]

    @rule()
    def fail(self):
        error = RuntimeError('gone')
        lost = self.records(None)
        failed = self.confirms.fail(error)
        assert [each.delivery_tag for each in failed] == [record['tag'] for record in lost]
        for record in lost:
            record['outcome'] = error

    @invariant()
    def agrees(self):
        outstanding = [record['tag'] for record in self.records(None)]
        assert len(self.confirms) == len(outstanding)
        in_question = [each.delivery_tag for each in self.confirms.in_question()]
        assert in_question == self.untold + outstanding
        for each, record in self.published:
            outcome = record['outcome']
            error = outcome if isinstance(outcome, Exception) else None
            assert each.settled() == (outcome is not None)
            assert (each.acknowledged, each.error) == (None if error else outcome, error)
            assert each.returned is record['returned']
            assert each.failed() == (
                outcome is False or error is not None or (outcome is True and bool(each.returned))
            )


Confirming.TestCase.settings = settings(deadline=None, max_examples=80, stateful_step_count=30)
TestConfirming = Confirming.TestCase


def test_a_late_answer_confirms_nothing_else():
    confirms: PublisherConfirms = PublisherConfirms()
    first, second = publish(confirms), publish(confirms)
    assert confirms.settle(1, False, True) == [first]
    assert confirms.settle(1, False, True) == []
    assert not second.settled()


def test_a_returned_message_is_known_by_its_content():
    """Messages 1 and 2 come back before one ack covers both."""
    confirms: PublisherConfirms = PublisherConfirms()
    first, second, third = (publish(confirms, likeness=each) for each in ('a', 'b', 'c'))
    confirms.message_returned('my b', 'b')
    confirms.message_returned('my a', 'a')
    confirms.settle(3, True, True)
    assert (first.returned, second.returned, third.returned) == ('my a', 'my b', None)


def test_of_messages_alike_the_oldest_was_returned():
    confirms: PublisherConfirms = PublisherConfirms()
    first, second = (publish(confirms, likeness='same') for _ in range(2))
    confirms.message_returned('one', 'same')
    assert (first.returned, second.returned) == ('one', None)
    confirms.message_returned('two', 'same')
    assert (first.returned, second.returned) == ('one', 'two')


def test_a_returned_message_like_none_belongs_to_the_next_confirm():
    confirms: PublisherConfirms = PublisherConfirms()
    first, second = publish(confirms), publish(confirms)
    confirms.settle(1, False, True)
    confirms.message_returned('mine', 'unlike any')
    assert (first.returned, second.returned) == (None, None)
    confirms.settle(9, False, True)  # about nothing of ours: it stays
    confirms.settle(2, False, True)
    assert (first.returned, second.returned) == (None, 'mine')


def test_only_the_last_number_can_be_taken_back():
    confirms: PublisherConfirms = PublisherConfirms()
    first = publish(confirms)
    second = publish(confirms)
    with pytest.raises(ValueError, match='1 is not the last'):
        confirms.withdraw(first)
    confirms.withdraw(second)
    assert confirms.last_tag == 1
    assert publish(confirms).delivery_tag == 2


def test_a_confirmation_shows_its_end_last():
    # A waiter in another thread looks at nothing but `settled`.
    class Watched:
        def __init__(self, returned):
            self.returned = returned

    confirms: PublisherConfirms = PublisherConfirms()
    confirmation = publish(confirms)
    returned = Watched(None)
    confirms.message_returned(returned, None)
    (settled,) = confirms.settle(0, True, False)
    assert settled is confirmation
    assert confirmation.settled()
    assert confirmation.returned is returned
    assert confirmation.acknowledged is False


@pytest.mark.skipif(amqp.speedups == 'compiled', reason='attributes of C are looked at directly')
def test_nothing_is_noted_of_a_confirmation_that_shows_its_end():
    """A waiter in another thread may go on at that moment, and ask."""
    ends = []

    class Watched(Confirmation):
        @property
        def returned(self):
            return Confirmation.returned.__get__(self)

        @returned.setter
        def returned(self, returned):
            ends.append(returned is not None and self.settled())
            Confirmation.returned.__set__(self, returned)

    class Confirms(PublisherConfirms):
        def remember(self, confirmation):
            ends.append(confirmation.settled())
            super().remember(confirmation)

    confirms = Confirms()
    confirms.publish(Watched())
    confirms.message_returned('another copy', 'like none')
    (settled,) = confirms.settle(1, False, True)
    assert settled.returned == 'another copy'
    assert ends == [False] * 3


def test_a_number_is_taken_back_behind_the_loss():
    confirms = PublisherConfirms()
    confirmation = publish(confirms)
    assert confirms.fail(RuntimeError()) == [confirmation]
    confirms.withdraw(confirmation)
    assert confirms.last_tag == 0


def test_untold_failures_are_bounded_and_counted():
    confirms = PublisherConfirms()
    limit = module.FAILURES_LIMIT
    published = [publish(confirms) for _ in range(limit + 5)]
    confirms.settle(0, True, False)
    assert confirms.in_question() == published[:limit]  # the first ones
    assert confirms.unlisted == 5
    assert confirms.forget(published[:limit]) == 5
    assert confirms.in_question() == []
    assert confirms.unlisted == 0


def test_what_somebody_else_is_told_of_is_not_remembered():
    class Promise:
        def __init__(self, heard):
            self.is_heard = lambda: heard

    confirms = PublisherConfirms()
    for confirmation in (
        Confirmation(awaited=True),
        Confirmation(promise=Promise(True)),
        unheard := Confirmation(promise=Promise(False)),
    ):
        confirms.publish(confirmation)
    confirms.settle(0, True, False)
    assert confirms.in_question() == [unheard]
    assert not unheard.told()
