"""What is raised for what became of messages."""

from __future__ import annotations

import amqp
from amqp.confirms import Confirmation
from amqp.delivery_errors import confirms_failed, delivery_error, returned_error, settle_promise
from amqp.protocol import basic_return_t


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


def returned(code=312):
    return basic_return_t(code, 'NO_ROUTE', 'e', 'k', amqp.Message('copy'))


def taken(message=None):
    confirmation = Confirmation(message=message)
    confirmation.acknowledged = True
    return confirmation


def test_what_was_taken_has_no_error():
    assert delivery_error(taken()) is None


def test_a_refused_message():
    mine = amqp.Message('mine')
    error = delivery_error(refused(3), mine)
    assert type(error) is amqp.MessageNacked
    assert (error.message, error.delivery_tag) == (mine, 3)
    assert delivery_error(refused(3, mine)).message is mine


def test_a_returned_message():
    mine = amqp.Message('mine')
    confirmation = taken()
    confirmation.delivery_tag, confirmation.returned = 3, returned()
    error = delivery_error(confirmation)
    assert type(error) is amqp.NoRoute
    assert (error.message.body, error.exchange, error.routing_key) == ('copy', 'e', 'k')
    assert error.delivery_tag == 3
    assert delivery_error(confirmation, mine).message is mine


def test_a_message_returned_for_another_reason():
    assert type(returned_error(returned(313))) is amqp.NoConsumers
    assert type(returned_error(returned(399))) is amqp.ChannelError


def test_a_message_whose_fate_is_open():
    confirmation = Confirmation()
    confirmation.error = amqp.NotFound('gone')
    first, second = delivery_error(confirmation), delivery_error(confirmation)
    assert type(first) is amqp.NotFound
    assert first is not second  # each is raised, and collects a traceback
    assert first is not confirmation.error


def test_promises_are_told():
    class Promise:
        def __init__(self):
            self.seen = []
            self.fulfil = self.fail = self.seen.append

    message = amqp.Message('x')
    for confirmation in (taken(message), refused(1, message)):
        confirmation.promise = Promise()
        settle_promise(confirmation)
        (told,) = confirmation.promise.seen
        assert told is message or told.message is message
