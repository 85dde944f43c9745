"""Many confirms together: what the error says of them."""

from __future__ import annotations

import amqp
from amqp.confirming_channel import confirms_failed
from amqp.confirms import Confirmation


def refused(tag, message=None):
    confirmation = Confirmation(message=message)
    confirmation.delivery_tag = tag
    confirmation.acknowledged = False
    return confirmation


def test_failures_are_told_in_the_order_of_publishing():
    message = amqp.Message('x')
    error = confirms_failed([refused(7), refused(3, message)])
    assert str(error) == (
        '2 messages were not taken, by delivery tag: 3 (MessageNacked), 7 (MessageNacked)'
    )
    assert [each.delivery_tag for each in error.failures] == [3, 7]
    assert [each.message for each in error.failures] == [message, None]


def test_the_text_names_a_few():
    error = confirms_failed([refused(tag) for tag in range(1, 100)], unlisted=1)
    assert str(error).startswith('100 messages were not taken, by delivery tag: 1 (')
    assert str(error).endswith('10 (MessageNacked), ...')
    assert len(error.failures) == 99
