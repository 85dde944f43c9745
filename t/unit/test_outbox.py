"""What goes a short way out of a channel, and what has to go the long way."""

from __future__ import annotations

import os

import pytest
from pamqp import commands

import amqp
from amqp import spec, utils
from amqp.confirms import Confirmation
from amqp.outbox import Outbox
from amqp.states import CHANNEL_TRANSITIONS, ChannelState, StateMachine
from t.helpers.threads import Background, Interrupted, InterruptedLock, until

ACK, REJECT = spec.Basic.Ack, spec.Basic.Reject


class Mine(amqp.Message):
    """A message of a caller's."""


def publish(channel, message=None, mandatory=False, immediate=False):
    message = amqp.Message(b'x') if message is None else message
    return channel._outbox.publish(message, '', 'q', mandatory, immediate)


def publish_numbered(channel, message=None, confirmation=None):
    message = amqp.Message(b'x') if message is None else message
    return channel._outbox.publish_numbered(message, '', 'q', confirmation)


@pytest.fixture(autouse=True)
def no_look(connection):
    """A publish before which it's time to look at the socket goes the long way."""
    connection._outbound.next_look = float('inf')


def test_messages_and_acknowledgements(channel, wire):
    assert publish(channel)
    assert publish(channel, Mine('y'), mandatory=1, immediate=[0])
    assert channel._outbox.settle(ACK, 5, True)
    assert channel._outbox.settle(REJECT, 6, 0)
    first, second = wire.messages(2)
    assert (first.body, first.method.mandatory, first.method.immediate) == (b'x', False, False)
    assert (second.body, second.method.mandatory, second.method.immediate) == (b'y', True, True)
    ack, reject = wire.seen(commands.Basic.Ack)[0], wire.seen(commands.Basic.Reject)[0]
    assert (ack.delivery_tag, ack.multiple) == (5, True)
    assert (reject.delivery_tag, reject.requeue) == (6, False)


def test_messages_that_are_confirmed(connection, channel, wire):
    channel.confirm_select()
    mine = Confirmation(awaited=True)
    assert publish_numbered(channel).delivery_tag == 1
    assert publish_numbered(channel, Mine('y'), mine) is mine
    assert (mine.delivery_tag, mine.awaited) == (2, True)
    assert [message.body for message in wire.messages(2)] == [b'x', b'y']
    while connection.stats.confirms_outstanding:
        connection.drain_events(timeout=5)
    assert mine.acknowledged


def unreported(channel):
    channel._unreported = amqp.NotFound('no queue')


def closing(channel):
    channel._state.state = ChannelState.CLOSING


def stopped(channel):
    channel.active = False


def confirming(channel):
    channel.confirm_select()


def awaiting(channel):
    channel._confirm_mode.begin_awaiting()


def collected(channel):
    channel.collect()


def connection_closing(channel):
    assert channel.connection._begin_closing()


def connection_lost(channel):
    channel.connection.collect()


def another_writer(channel):
    channel.connection.frame_writer = lambda *frame: None


def another_writer_put_in_place(channel):
    channel.connection._frame_writer = lambda *frame: None


EVERYTHING = (
    unreported,
    closing,
    collected,
    connection_closing,
    connection_lost,
    another_writer,
    another_writer_put_in_place,
)


@pytest.mark.parametrize('happens', EVERYTHING)
def test_nothing_goes_this_way(connection, channel, happens):
    happens(channel)
    before = connection.bytes_sent
    assert not publish(channel)
    assert publish_numbered(channel) is None
    assert not channel._outbox.settle(ACK, 1, False)
    assert connection.bytes_sent == before


def full(channel):
    channel.confirm_select(window=1)
    channel.basic_publish(amqp.Message(b'first'))


@pytest.mark.parametrize('happens', [*EVERYTHING, stopped, full])
def test_nothing_is_numbered(connection, channel, happens):
    channel.confirm_select()
    happens(channel)
    before, outstanding = connection.bytes_sent, connection.stats.confirms_outstanding
    assert publish_numbered(channel) is None
    assert connection.bytes_sent == before
    assert connection.stats.confirms_outstanding == outstanding


def test_nothing_is_numbered_outside_of_confirm_mode(connection, channel):
    before = connection.bytes_sent
    awaiting(channel)  # by another publisher, as far as this one knows
    assert publish_numbered(channel) is None
    assert connection.bytes_sent == before


@pytest.mark.parametrize('message', [None, b'x', amqp.Message, object()], ids=str)
@pytest.mark.parametrize('confirms', [False, True])
def test_no_number_for_what_is_no_message(connection, channel, message, confirms):
    if confirms:
        channel.confirm_select()
    before = connection.bytes_sent
    assert channel._outbox.publish_numbered(message, '', 'q') is None
    assert connection.bytes_sent == before


class Bad(amqp.Message):
    """One that can't be sent."""

    def _serialize_properties(self):
        raise LookupError('no such')


def test_the_number_of_what_was_not_sent_is_given_again(connection, channel):
    channel.confirm_select()
    assert channel._outbox.publish_numbered(amqp.Message(b'x'), '', 'k' * 256) is None
    with pytest.raises(LookupError, match='no such'):
        publish_numbered(channel, Bad(b'x'))
    assert connection.stats.confirms_outstanding == 0
    assert publish_numbered(channel).delivery_tag == 1
    assert Background(channel._send_lock.acquire, False).result()


@pytest.mark.parametrize('happens', [stopped, confirming, awaiting])
def test_messages_go_another_way(connection, channel, happens):
    happens(channel)
    before = connection.bytes_sent
    assert not publish(channel)
    assert connection.bytes_sent == before
    assert channel._outbox.settle(ACK, 1, False)
    assert connection.bytes_sent > before


@pytest.mark.parametrize('message', [None, b'x', amqp.Message, object()], ids=str)
def test_what_is_no_message(connection, channel, message):
    before = connection.bytes_sent
    assert not channel._outbox.publish(message, '', 'q', False, False)
    assert connection.bytes_sent == before


@pytest.mark.parametrize('key', [5, 'k' * 256, ['k']], ids=str)
def test_what_cannot_be_sent(connection, channel, key):
    before = connection.bytes_sent
    assert not channel._outbox.publish(amqp.Message(b'x'), '', key, False, False)
    assert not channel._outbox.settle(ACK, -1, False)
    assert not channel._outbox.settle(ACK, '1', False)
    assert connection.bytes_sent == before


def test_the_writer_put_back(connection, channel, wire):
    own = connection.frame_writer
    connection.frame_writer = lambda *frame: own(*frame)
    assert not publish(channel)
    connection.frame_writer = own
    assert publish(channel)
    assert [message.body for message in wire.messages(1)] == [b'x']


def test_acknowledgements_by_a_method_overridden(connection):
    sent = []

    class Channel(amqp.Channel):
        def send_method(self, sig, *args, **kwargs):
            sent.append(sig)
            return super().send_method(sig, *args, **kwargs)

    channel = Channel(connection)
    channel.open()
    assert not channel._outbox.settle(ACK, 1, False)
    channel.basic_ack(1)
    channel.basic_reject(2, False)
    assert sent[-2:] == [ACK, REJECT]


def test_another_number(connection, channel, wire):
    """As a channel gets whose reply is overdue."""
    connection._registry.move(channel, 7)
    assert publish(channel)
    assert [message.channel for message in wire.messages(1)] == [7]


def test_one_that_was_never_opened():
    outbox = Outbox(1, StateMachine(CHANNEL_TRANSITIONS, ChannelState.NEW))
    assert not outbox.publish(amqp.Message(b'x'), '', 'q', False, False)
    assert not outbox.settle(ACK, 1, False)


def test_who_has_the_send_lock_goes_first(channel):
    with channel._send_lock:
        waiting = Background(publish, channel)
        until(lambda: waiting._thread.is_alive())
        channel._state.state = ChannelState.CLOSING
    assert waiting.result() is False  # it has waited, and seen what came


def test_a_value_that_raises_leaves_the_lock_to_be_had(channel):
    with pytest.raises(LookupError, match='no such'):
        publish(channel, Bad(b'x'))
    assert Background(channel._send_lock.acquire, False).result()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork here')
def test_a_child_sends_nothing_and_waits_for_no_lock(connection, channel):
    """Not even for one that a thread of the parent held."""
    before = connection.bytes_sent
    holder = Background(channel._send_lock.acquire)
    assert holder.result()
    child = os.fork()
    if not child:
        passed = not publish(channel) and not channel._outbox.settle(ACK, 1, False)
        os._exit(0 if passed and utils.fork_generation() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert connection.bytes_sent == before


@pytest.mark.skipif(amqp.speedups == 'compiled', reason='no handler runs within C')
@pytest.mark.parametrize('where', ['channel', 'stream'])
def test_an_exception_right_behind_the_taking_of_a_lock_leaves_it_to_be_had(
    connection, channel, where
):
    holder, name = {
        'channel': (channel._outbox, 'lock'),
        'stream': (connection.transport, '_write_lock'),
    }[where]
    lock = getattr(holder, name)
    setattr(holder, name, InterruptedLock(lock))
    before = connection.bytes_sent
    with pytest.raises(Interrupted):
        publish(channel)
    assert connection.bytes_sent == before
    assert Background(lock.acquire, False).result()


@pytest.mark.skipif(amqp.speedups == 'compiled', reason='no handler runs within C')
def test_an_exception_while_a_lock_is_waited_for_is_what_is_raised(channel):
    class Awaited:
        def __init__(self, lock):
            self.release, self._is_owned = lock.release, lock._is_owned

        def acquire(self, blocking=True):
            raise Interrupted

    channel._outbox.lock = Awaited(channel._outbox.lock)
    with pytest.raises(Interrupted):
        publish(channel)
