"""Promises of published messages: each is settled once, by its own confirm or by a loss."""

from __future__ import annotations

import os
import random
import threading

import pytest
from pamqp import commands

import amqp
from amqp import Message

from .support import LOST, SOON, Background, drain_until, poll_dry, readable

ACK, NACK = commands.Basic.Ack, commands.Basic.Nack
CLOSE = commands.Channel.Close(404, 'NOT_FOUND', 60, 40)


class Told:
    """What a promise told its callbacks, and in which thread."""

    def __init__(self, promise=None):
        self.taken = []
        self.failed = []
        self.threads = []
        if promise is not None:
            promise.then(self.take, self.fail)

    def take(self, message):
        self.threads.append(threading.current_thread())
        self.taken.append(message)

    def fail(self, error):
        self.threads.append(threading.current_thread())
        self.failed.append(error)

    def __len__(self):
        return len(self.threads)


@pytest.fixture
def publisher(peer, connect):
    """A connection, a channel, and the wire, which confirms nothing."""
    peer.serve(confirms=False)
    connection = connect()
    return connection, connection.channel(), peer.wire()


def publish(channel, body=b'x', **options):
    """Publish; the message, its promise, and what that tells."""
    message = Message(body)
    promise = channel.publish_async(message, routing_key='q', **options)
    return message, promise, Told(promise)


def test_it_is_fulfilled_with_the_message(publisher):
    connection, channel, wire = publisher
    message, promise, told = publish(channel)
    assert isinstance(promise, amqp.promise)
    assert not promise.ready
    wire.messages(1)
    wire.send(1, ACK(1))
    drain_until(connection, lambda: told)
    assert told.taken == [message]
    assert promise.ready
    assert len(wire.seen(commands.Confirm.Select)) == 1


def test_it_fails_by_a_nack(publisher):
    connection, channel, wire = publisher
    message, promise, told = publish(channel)
    wire.send(1, NACK(1))
    drain_until(connection, lambda: told)
    (error,) = told.failed
    assert isinstance(error, amqp.MessageNacked)
    assert (error.message, error.delivery_tag) == (message, 1)
    assert promise.failed
    assert promise.reason is error


@pytest.mark.parametrize('listening', [False, True])
def test_it_fails_by_a_return(publisher, listening):
    """Whoever else listens for returned messages; drain_events doesn't raise it besides."""
    connection, channel, wire = publisher
    returned = []
    if listening:
        channel.events['basic_return'].add(lambda *args: returned.append(args))
    message, _, told = publish(channel, b'lost', mandatory=True)
    wire.send_content(1, commands.Basic.Return(312, 'NO_ROUTE', '', 'q'), b'lost')
    wire.send(1, ACK(1))
    drain_until(connection, lambda: told)
    (error,) = told.failed
    assert isinstance(error, amqp.NoRoute)
    assert (error.message, error.routing_key, error.delivery_tag) == (message, 'q', 1)
    poll_dry(connection)
    assert len(returned) == listening


def test_each_is_settled_by_its_own_confirm(publisher):
    connection, channel, wire = publisher
    published = [publish(channel, b'%d' % number) for number in range(5)]
    wire.send(1, NACK(4), ACK(2, multiple=True))
    drain_until(connection, lambda: sum(len(told) for *_, told in published) == 3)
    assert [len(told) for *_, told in published] == [1, 1, 0, 1, 0]
    wire.send(1, ACK(5), ACK(4), NACK(3))
    drain_until(connection, lambda: all(told for *_, told in published))
    assert [told.taken for *_, told in published] == [
        [published[0][0]],
        [published[1][0]],
        [],
        [],
        [published[4][0]],
    ]
    assert [each.message for each in published[2][2].failed] == [published[2][0]]


@pytest.mark.parametrize('seed', range(20))
def test_no_confirm_is_taken_for_that_of_another_message(publisher, seed):
    """Answers late, multiple, out of order, twice, mixed with nacks and returns."""
    connection, channel, wire = publisher
    choose = random.Random(seed)
    count = 60
    published = [publish(channel, b'%d' % tag, mandatory=True) for tag in range(1, count + 1)]
    wire.messages(count)
    expected = {}
    waiting = list(range(1, count + 1))
    while waiting:
        for tag in choose.sample(waiting, min(len(waiting), 3)):
            if choose.random() < 0.3 and tag not in expected:
                back = commands.Basic.Return(312, 'NO_ROUTE', '', 'q')
                wire.send_content(1, back, b'%d' % tag)
                expected[tag] = amqp.NoRoute
        named, multiple = choose.choice(waiting), choose.random() < 0.3
        covered = [tag for tag in waiting if tag == named or (multiple and tag < named)]
        refused = choose.random() < 0.4
        answer = (NACK if refused else ACK)(named, multiple)
        wire.send(1, answer, ACK(named))  # the second one is about nothing any more
        for tag in covered:
            expected.setdefault(tag, amqp.MessageNacked if refused else None)
            waiting.remove(tag)
    drain_until(connection, lambda: all(told for *_, told in published))
    for tag, (message, _, told) in enumerate(published, 1):
        assert len(told) == 1
        if expected[tag] is None:
            assert told.taken == [message]
        else:
            (error,) = told.failed
            assert (type(error), error.message) == (expected[tag], message)
            assert error.delivery_tag == tag


def test_a_callback_that_comes_late_is_called_at_once(publisher):
    connection, channel, wire = publisher
    taken, refused = (channel.publish_async(Message('x')) for _ in range(2))
    wire.send(1, ACK(1), NACK(2))
    drain_until(connection, lambda: taken.ready and refused.failed)
    assert Told(taken).taken[0].body == 'x'
    assert isinstance(Told(refused).failed[0], amqp.MessageNacked)
    refused.then(print)  # is not called, and nothing is raised


# -- where callbacks run


def test_callbacks_run_where_events_are_drained(publisher):
    connection, channel, wire = publisher
    drainer = threading.Thread(target=lambda: drain_until(connection, lambda: told))
    told = Told()
    promise = channel.publish_async(Message('x'))
    promise.then(told.take)
    drainer.start()
    wire.send(1, ACK(1))
    drainer.join(SOON)
    assert told.threads == [drainer]


def test_callbacks_may_do_anything(publisher):
    """No lock is held, and no frame is being taken in."""
    connection, channel, wire = publisher
    done = []

    def callback(message):
        assert not connection._reader._role.is_mine()
        assert not channel._send_lock._is_owned()
        assert channel.queue_declare('q').queue == 'q'
        Background(channel.basic_publish, Message('from another thread')).result()
        connection.channel().close()
        done.append(message)

    channel.publish_async(Message('x')).then(callback)
    wire.send(1, ACK(1))
    drain_until(connection, lambda: done)


def test_they_run_while_something_else_is_waited_for(publisher):
    _, channel, wire = publisher
    _, _, told = publish(channel)
    wire.messages(1)
    wire.send(1, ACK(1))
    channel.queue_declare('q')
    assert told.taken


@pytest.mark.parametrize('error', [ValueError, TimeoutError])
def test_what_a_callback_raises_comes_out_of_drain_events(publisher, error):
    connection, channel, wire = publisher

    def callback(message):
        raise error('mine')

    channel.publish_async(Message('x')).then(callback)
    _, _, told = publish(channel)
    wire.send(1, ACK(2, multiple=True))
    with pytest.raises(error, match='mine'):
        drain_until(connection, lambda: False)
    drain_until(connection, lambda: told)


def test_callbacks_are_called_once_whoever_adds_them(publisher):
    """Threads add them while another settles the promises."""
    connection, channel, wire = publisher
    count, told = 200, []

    def publish_some():
        for _ in range(count):
            each = Told()
            channel.publish_async(Message('x')).then(each.take, each.fail)
            told.append(each)
        connection.call_soon_threadsafe(list)  # the last may have been told here

    def confirm_all():
        for tag in range(1, 3 * count + 1):
            wire.messages(tag)
            wire.send(1, ACK(tag))

    channel.confirm_select()
    calls = [Background(publish_some) for _ in range(3)] + [Background(confirm_all)]
    drain_until(connection, lambda: sum(map(len, told)) == 3 * count)
    for call in calls:
        call.result()
    assert [len(each.taken) for each in told] == [1] * 3 * count


# -- losses


def test_an_ack_before_the_channel_is_lost_counts(publisher):
    """It was read along with the close, before any callback could run."""
    connection, channel, wire = publisher
    other = connection.channel()
    message, _, told = publish(channel)
    wire.messages(1)
    wire.send(1, ACK(1), CLOSE)
    readable(connection)
    connection._reader.look(10)
    assert not channel.is_open
    assert not told
    other.queue_declare('q')
    assert told.taken == [message]


def test_a_channel_that_the_broker_closes(publisher):
    """Whoever hears of it there isn't told by drain_events again."""
    connection, channel, wire = publisher
    tolds = [publish(channel)[-1] for _ in range(3)]
    wire.send(1, ACK(2), CLOSE)
    drain_until(connection, lambda: all(tolds))
    assert [len(told.taken) for told in tolds] == [0, 1, 0]
    errors = tolds[0].failed + tolds[2].failed
    assert all(isinstance(error, amqp.NotFound) for error in errors)
    assert errors[0] is not errors[1]  # a traceback each
    poll_dry(connection)
    _, promise, _ = publish(channel)  # the channel is open again, and in confirm mode
    wire.messages(4)
    wire.send(1, ACK(1))
    drain_until(connection, lambda: promise.ready)


def test_a_channel_that_the_broker_closes_where_nobody_hears(publisher):
    connection, channel, wire = publisher
    promise = channel.publish_async(Message('x'))
    wire.send(1, CLOSE)
    with pytest.raises(amqp.NotFound):
        drain_until(connection, lambda: False)
    drain_until(connection, lambda: promise.failed)
    assert isinstance(promise.reason, amqp.NotFound)


def test_a_channel_that_is_closed(publisher):
    _, channel, wire = publisher
    _, _, told = publish(channel)
    wire.messages(1)
    channel.close()
    assert len(told.failed) == 1


@pytest.mark.parametrize('call', ['drain_events', 'wait_for_confirms', 'queue_declare'])
@pytest.mark.parametrize('end', ['eof', 'reset', 'close'])
def test_a_connection_that_is_lost(publisher, end, call):
    connection, channel, wire = publisher
    tolds = [publish(channel)[-1] for _ in range(3)]
    wire.messages(3)
    if end == 'close':
        wire.send(0, commands.Connection.Close(320, 'CONNECTION_FORCED', 0, 0))
    else:
        getattr(wire, end)()
    with pytest.raises(LOST):
        if call == 'drain_events':
            drain_until(connection, lambda: False)
        else:
            getattr(channel, call)()
    assert [len(told.failed) for told in tolds] == [1, 1, 1]
    assert all(isinstance(told.failed[0], LOST) for told in tolds)
    connection.close()
    assert [len(told) for told in tolds] == [1, 1, 1]


@pytest.mark.parametrize('end', ['close', 'collect', 'abort'])
def test_a_connection_that_is_ended(publisher, end):
    connection, channel, wire = publisher
    _, _, told = publish(channel)
    wire.messages(1)
    getattr(connection, end)()
    assert len(told.failed) == 1
    assert isinstance(told.failed[0], LOST)


def test_a_loss_that_a_thread_finds_that_may_run_no_callbacks(publisher):
    """Another one drains: callbacks are its business."""
    connection, channel, wire = publisher
    _, _, told = publish(channel)
    wire.messages(1)
    drainer = Background(drain_until, connection, lambda: False)
    wire.eof()
    assert isinstance(drainer.error(), LOST)
    assert told.threads == [drainer.thread]


def test_callbacks_that_raise_upon_a_loss(publisher):
    """All run; the errors come out, the loss along with them."""
    connection, channel, wire = publisher

    def fail(error):
        raise ValueError('mine')

    for _ in range(2):
        channel.publish_async(Message('x')).then(print, fail)
    _, _, told = publish(channel)
    wire.eof()
    with pytest.raises(ValueError, match='mine') as caught:
        drain_until(connection, lambda: False)
    assert isinstance(caught.value.__context__, (ValueError, LOST))
    assert told.failed
    with pytest.raises(LOST):
        connection.drain_events(timeout=0)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork on this platform')
def test_a_forked_child_tells_nobody(publisher):
    connection, channel, wire = publisher
    message, _, told = publish(channel)
    wire.messages(1)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            connection.collect()
            code = len(told)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    wire.send(1, ACK(1))
    drain_until(connection, lambda: told)
    assert told.taken == [message]


# -- errors that nobody hears


def test_what_nobody_hears_the_wait_for_all_tells(publisher):
    _, channel, wire = publisher
    message, heard = Message('x'), Told()
    channel.publish_async(message)
    channel.publish_async(message).then(heard.take)  # hears only of success
    channel.publish_async(message).then(heard.take, heard.fail)
    channel.publish_async(message).on_error = heard.fail
    wire.messages(4)
    wire.send(1, NACK(4, multiple=True))
    with pytest.raises(amqp.ConfirmsFailed) as caught:
        channel.wait_for_confirms()
    assert [each.delivery_tag for each in caught.value.failures] == [1, 2]
    assert [each.message for each in caught.value.failures] == [message] * 2
    assert len(heard.failed) == 2
    assert channel.wait_for_confirms() is None


def test_a_barrier_hears_of_errors(publisher):
    from vine import barrier

    _, channel, wire = publisher
    told = Told()
    barrier([channel.publish_async(Message('x'))]).then(told.take, told.fail)
    wire.messages(1)
    wire.send(1, NACK(1))
    with pytest.raises(amqp.MessageNacked):
        channel.wait_for_confirms()  # vine raises it there, and doesn't tell it again
    assert len(told.failed) == 1
    assert channel.wait_for_confirms() is None


# -- what it won't publish


@pytest.mark.parametrize(
    ('args', 'text'),
    [
        ((b'x',), "argument 'msg': bytes is not a Message"),
        ((Message('x'), 'e' * 256), "argument 'exchange'"),
        ((Message('x'), 'e', 5), "argument 'routing_key'"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_sent(publisher, args, text):
    connection, channel, _ = publisher
    sent = connection.bytes_sent
    with pytest.raises(amqp.EncodeError, match=text):
        channel.publish_async(*args)
    assert connection.bytes_sent == sent
    assert channel.basic_publish(Message('x')) is None  # not in confirm mode


def test_a_body_that_cannot_be_sent_takes_no_number(publisher):
    connection, channel, wire = publisher
    for mandatory in (False, True):
        with pytest.raises(amqp.EncodeError):
            channel.publish_async(Message(5), mandatory=mandatory)
    message, _, told = publish(channel)
    wire.send(1, ACK(1))
    drain_until(connection, lambda: told)
    assert told.taken == [message]


@pytest.mark.parametrize('options', [{}, {'timeout': 5}, {'mandatory': True}])
def test_it_waits_for_room_in_a_window(publisher, options):
    _, channel, wire = publisher
    channel.confirm_select(window=1)
    _, _, first = publish(channel, **options)
    with pytest.raises(TimeoutError, match='1 messages are in flight'):
        publish(channel, confirm_timeout=0.05)
    second = Background(publish, channel, **options)
    wire.send(1, ACK(1))
    second.result()
    assert first.taken
    assert len(wire.messages(2)) == 2
