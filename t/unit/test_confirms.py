"""Publisher confirms, against a model of what the broker may say."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from amqp.confirms import PublisherConfirms


class Confirming(RuleBasedStateMachine):
    """Each message is settled once, by an answer that covers its tag and by no other."""

    def __init__(self):
        super().__init__()
        self.confirms: PublisherConfirms[str] = PublisherConfirms()
        self.published = []
        self.open: list[int] = []  # tags without an answer
        self.expected: dict[int, bool | Exception | None] = {}

    @rule(awaited=st.booleans())
    def publish(self, awaited):
        confirmation = self.confirms.publish(awaited)
        self.published.append(confirmation)
        assert confirmation.delivery_tag == len(self.published)
        assert confirmation.awaited is awaited
        self.open.append(confirmation.delivery_tag)
        self.expected[confirmation.delivery_tag] = None

    @precondition(lambda self: self.open and self.open[-1] == len(self.published))
    @rule()
    def withdraw(self):
        self.confirms.withdraw(self.published.pop())
        del self.expected[self.open.pop()]

    @rule(data=st.data(), multiple=st.booleans(), acknowledged=st.booleans())
    def settle(self, data, multiple, acknowledged):
        tag = data.draw(st.integers(0, len(self.published) + 2))
        if multiple:
            covered = [each for each in self.open if tag == 0 or each <= tag]
        else:
            covered = [each for each in self.open if each == tag]
        settled = self.confirms.settle(tag, multiple, acknowledged)
        assert [each.delivery_tag for each in settled] == covered
        for each in covered:
            self.open.remove(each)
            self.expected[each] = acknowledged

    @rule()
    def fail(self):
        error = RuntimeError('gone')
        failed = self.confirms.fail(error)
        assert [each.delivery_tag for each in failed] == self.open
        for tag in self.open:
            self.expected[tag] = error
        self.open = []

    @invariant()
    def agrees(self):
        assert len(self.confirms) == len(self.open)
        for each in self.published:
            expected = self.expected[each.delivery_tag]
            assert each.settled() == (expected is not None)
            if isinstance(expected, Exception):
                assert (each.acknowledged, each.error) == (None, expected)
            else:
                assert (each.acknowledged, each.error) == (expected, None)


Confirming.TestCase.settings = settings(deadline=None, max_examples=80, stateful_step_count=30)
TestConfirming = Confirming.TestCase


def test_a_late_answer_confirms_nothing_else():
    confirms: PublisherConfirms[str] = PublisherConfirms()
    first, second = confirms.publish(), confirms.publish()
    assert confirms.settle(1, False, True) == [first]
    assert confirms.settle(1, False, True) == []
    assert not second.settled()


def test_a_returned_message_is_known_by_its_content():
    """Messages 1 and 2 come back before one ack covers both."""
    confirms: PublisherConfirms[str] = PublisherConfirms()
    first, second, third = (confirms.publish(likeness=each) for each in ('a', 'b', 'c'))
    confirms.message_returned('my b', 'b')
    confirms.message_returned('my a', 'a')
    confirms.settle(3, True, True)
    assert (first.returned, second.returned, third.returned) == ('my a', 'my b', None)


def test_of_messages_alike_the_oldest_was_returned():
    confirms: PublisherConfirms[str] = PublisherConfirms()
    first, second = (confirms.publish(likeness='same') for _ in range(2))
    confirms.message_returned('one', 'same')
    assert (first.returned, second.returned) == ('one', None)
    confirms.message_returned('two', 'same')
    assert (first.returned, second.returned) == ('one', 'two')


def test_a_returned_message_like_none_belongs_to_the_next_confirm():
    confirms: PublisherConfirms[str] = PublisherConfirms()
    first, second = confirms.publish(), confirms.publish()
    confirms.settle(1, False, True)
    confirms.message_returned('mine', 'unlike any')
    assert (first.returned, second.returned) == (None, None)
    confirms.settle(9, False, True)  # about nothing of ours: it stays
    confirms.settle(2, False, True)
    assert (first.returned, second.returned) == (None, 'mine')


def test_only_the_last_number_can_be_taken_back():
    confirms: PublisherConfirms[str] = PublisherConfirms()
    first = confirms.publish()
    second = confirms.publish()
    with pytest.raises(ValueError, match='1 is not the last'):
        confirms.withdraw(first)
    confirms.withdraw(second)
    assert confirms.last_tag == 1
    assert confirms.publish().delivery_tag == 2


def test_a_confirmation_shows_its_end_last():
    # A waiter in another thread looks at nothing but `settled`.
    class Watched:
        def __init__(self, returned):
            self.returned = returned

    confirms: PublisherConfirms[Watched] = PublisherConfirms()
    confirmation = confirms.publish()
    returned = Watched(None)
    confirms.message_returned(returned, None)
    (settled,) = confirms.settle(0, True, False)
    assert settled is confirmation
    assert confirmation.settled()
    assert confirmation.returned is returned
    assert confirmation.acknowledged is False
