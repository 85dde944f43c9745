"""The confirm mode of a channel: numbering for many threads, returns, answers."""

from __future__ import annotations

import pytest

from amqp.basic_message import Message
from amqp.confirm_mode import ConfirmMode
from amqp.confirms import Confirmation
from amqp.exceptions import EncodeError, RecoverableChannelError
from amqp.protocol import basic_return_t
from amqp.serialization import dumps
from t.helpers.threads import Background


def publish(mode, body=b'x', exchange='', routing_key='key', mandatory=False, immediate=False):
    payload = dumps('Bssbb', (0, exchange, routing_key, mandatory, immediate))
    return mode.number(payload, Message(body))


def returned(body=b'x', exchange='', routing_key='key'):
    return basic_return_t(312, 'NO_ROUTE', exchange, routing_key, Message(body))


@pytest.fixture
def mode():
    made = ConfirmMode()
    made.begin()
    return made


def test_outside_of_it_nothing_is_numbered():
    mode = ConfirmMode()
    assert not mode.is_on()
    assert publish(mode) is None
    assert mode.settle(1, False, True) is None
    assert not mode.message_returned(returned())
    assert not mode.end(RuntimeError())
    mode.withdraw(None)


def test_within_it_everything_is(mode):
    assert mode.is_on()
    assert [publish(mode).delivery_tag for _ in range(3)] == [1, 2, 3]
    assert [each.delivery_tag for each in mode.settle(2, True, True)] == [1, 2]
    assert mode.settle(1, False, True) == []


def test_beginning_it_again_changes_nothing(mode):
    publish(mode)
    mode.begin()
    assert publish(mode).delivery_tag == 2
    mode.settle(2, True, True)
    mode.begin()  # with none outstanding
    assert publish(mode).delivery_tag == 3


def test_what_a_thread_awaits_is_noted(mode):
    mode.begin_awaiting()
    assert publish(mode).awaited  # noqa: PGH005
    assert not Background(publish, mode).result().awaited
    mode.end_awaiting()
    assert not publish(mode).awaited


def test_whoever_awaits_a_confirm_does_not_publish_without():
    mode = ConfirmMode()
    mode.begin_awaiting()
    assert mode.is_used()
    with pytest.raises(RecoverableChannelError, match='opened again meanwhile'):
        publish(mode)
    mode.end_awaiting()
    assert not mode.is_used()


def test_its_end(mode):
    plain = publish(mode)
    error = RuntimeError('gone')
    assert mode.end(error) == [plain]
    assert plain.error is error
    assert not mode.is_on()
    mode.begin()
    mode.begin_awaiting()
    awaited = publish(mode)
    mode.end_awaiting()
    assert awaited.delivery_tag == 1  # a new count
    assert mode.end(error) == [awaited]
    assert awaited.error is error


def test_a_number_is_taken_back(mode):
    publish(mode)
    mode.withdraw(publish(mode))
    assert publish(mode).delivery_tag == 2


def test_a_number_that_is_gone_need_not_be(mode):
    confirmation = publish(mode)
    mode.end(RuntimeError())
    mode.withdraw(confirmation)
    assert not mode.is_on()


def test_a_body_that_cannot_be_sent_takes_no_number(mode):
    with pytest.raises(EncodeError):
        publish(mode, body=5, mandatory=True)
    assert publish(mode).delivery_tag == 1


def test_several_returns_before_one_ack(mode):
    """RabbitMQ puts confirms together: each return belongs to its own message."""
    first = publish(mode, b'1', mandatory=True)
    second = publish(mode, b'2', mandatory=True)
    third = publish(mode, b'3', mandatory=True)
    for body in (b'1', b'3'):
        assert mode.message_returned(returned(body))
    mode.settle(3, True, True)
    assert first.returned.message.body == b'1'
    assert second.returned is None
    assert third.returned.message.body == b'3'


def test_a_return_beside_the_acks_of_others(mode):
    routed = publish(mode, b'same', routing_key='routed', mandatory=True)
    lost = publish(mode, b'same', routing_key='lost', mandatory=True)
    mode.message_returned(returned(b'same', routing_key='lost'))
    mode.settle(1, False, True)
    mode.settle(2, False, True)
    assert routed.returned is None
    assert lost.returned.routing_key == 'lost'


def test_messages_that_are_alike_are_returned_in_their_order(mode):
    messages = [publish(mode, b'same', immediate=True) for _ in range(3)]
    for _ in range(2):
        mode.message_returned(returned(b'same'))
    assert [each.returned is not None for each in messages] == [True, True, False]


def test_text_is_known_by_its_octets(mode):
    confirmation = publish(mode, 'é', mandatory=True)
    mode.message_returned(returned('é'.encode()))
    assert confirmation.returned is not None


def test_messages_outstanding(mode):
    assert mode.outstanding() == 0
    for _ in range(3):
        publish(mode)
    mode.settle(2, False, True)
    assert mode.outstanding() == 2
    mode.end(OSError())
    assert mode.outstanding() == 0


def test_a_window(mode):
    assert not mode.is_full()
    mode.window = 2
    publish(mode)
    assert mode.has_room()
    message = Message('kept')
    kept = mode.number(b'\0', message)
    assert kept.message is message  # its number is bounded
    assert mode.is_full()
    assert not mode.has_room()
    mode.settle(1, False, True)
    assert mode.has_room()
    publish(mode)
    mode.end(RuntimeError())
    assert mode.has_room()  # there is nothing to wait for
    assert mode.window == 2  # for when it begins again


def test_without_a_window_no_message_is_kept(mode):
    assert mode.number(b'\0', Message('x')).message is None


def test_a_confirmation_of_the_publishers_own(mode):
    own = Confirmation(message='mine')
    assert mode.number(b'\0', Message('x'), own) is own
    assert (own.delivery_tag, own.message) == (1, 'mine')
    mode.withdraw(own)
    publish(mode)
    assert mode.number(b'\0', Message('x'), own) is own  # tried again
    assert own.delivery_tag == 2


def test_a_confirmation_of_the_publishers_own_is_not_left_without_an_answer():
    with pytest.raises(RecoverableChannelError, match='opened again meanwhile'):
        ConfirmMode().number(b'\0', Message('x'), Confirmation())


def test_waits_for_all(mode):
    assert ConfirmMode().begin_waiting() is None
    first, second = publish(mode), publish(mode)
    mode.settle(1, False, False)
    assert not mode.is_waited_for()
    assert mode.begin_waiting() == [first, second]
    assert mode.begin_waiting() == [first, second]
    mode.end_waiting()
    assert mode.is_waited_for()
    mode.end_waiting()
    assert not mode.is_waited_for()


def test_what_was_told_is_forgotten(mode):
    first, second = publish(mode), publish(mode)
    mode.settle(2, True, False)
    assert mode.tell([first]) == 0
    assert first.told()
    assert mode.begin_waiting() == [second]
    mode.end(RuntimeError())
    assert mode.tell([second]) == 0  # nothing is remembered any more


def test_a_loss_that_leaves_a_fate_open_is_told_once(mode):
    error = RuntimeError('gone')
    publish(mode)
    mode.end(error)
    assert mode.take_loss() is error
    assert mode.take_loss() is None


def test_a_loss_behind_failures_that_nobody_was_told_of(mode):
    publish(mode)
    mode.settle(1, False, False)
    mode.end(error := RuntimeError('gone'))
    assert mode.take_loss() is error


def test_a_loss_that_leaves_nothing_open(mode):
    mode.begin_awaiting()
    publish(mode)  # whose publisher tells
    mode.end_awaiting()
    publish(mode)
    mode.settle(2, False, True)
    mode.end(RuntimeError())
    assert mode.take_loss() is None


def test_what_is_given_up_may_be_asked_for(mode):
    refused, taken, outstanding = (Confirmation(awaited=True) for _ in range(3))
    for each in (refused, taken, outstanding):
        mode.number(b'\0', Message('x'), each)
    mode.settle(1, False, False)
    mode.settle(2, False, True)
    assert mode.begin_waiting() == [outstanding]
    mode.give_up([refused, taken, outstanding])
    assert not outstanding.told()
    assert mode.begin_waiting() == [refused, outstanding]
    mode.end(RuntimeError())
    mode.begin()
    mode.give_up([outstanding])  # of an earlier count
    assert mode.begin_waiting() == []
