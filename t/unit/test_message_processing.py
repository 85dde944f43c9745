"""Messages that are settled by how a block ends: once, and in every case."""

from __future__ import annotations

import pytest
from pamqp import commands

import amqp

from .support import CLOSE, drain, scripted


class UserError(Exception):
    pass


def settled(channel, wire):
    """What has been sent, as (method, tag) with the flag of a reject."""
    channel.queue_declare('sync')
    sent = []
    for _, frame in wire.received:
        if isinstance(frame, commands.Basic.Reject):
            sent.append((frame.name, frame.delivery_tag, frame.requeue))
        elif isinstance(frame, (commands.Basic.Ack, commands.Basic.Nack)):
            sent.append((frame.name, frame.delivery_tag))
    return sent


@pytest.fixture(params=['callback', 'stream', 'get'])
def message(request, channel, wire, peer):
    """A message that was received in one of the ways that there are."""
    if request.param == 'callback':
        seen = []
        channel.basic_consume('q', 'tag', callback=seen.append)
        wire.deliver(1, 'tag', 7)
        drain(channel.connection)
        return seen[0]
    if request.param == 'get':
        wire.send_content(1, commands.Basic.GetOk(7, False, '', 'k', 0), b'x')
        return channel.basic_get('q')
    stream = request.getfixturevalue('stream')
    return next(stream)


@pytest.fixture
def stream(channel, wire):
    made = channel.consume('q')
    wire.deliver(1, made.consumer_tag, 7)
    return made


def test_it_is_acknowledged_at_the_end(channel, wire, message):
    with message.process() as same:
        assert same is message
        assert settled(channel, wire) == []
    assert settled(channel, wire) == [('Basic.Ack', 7)]


@pytest.mark.parametrize('requeue', [True, False])
def test_it_is_rejected_upon_an_exception(channel, wire, message, requeue):
    with pytest.raises(UserError), message.process(requeue=requeue):
        raise UserError
    assert settled(channel, wire) == [('Basic.Reject', 7, requeue)]


def test_it_is_put_back_upon_what_says_nothing_of_it(channel, wire, message):
    with pytest.raises(KeyboardInterrupt), message.process():
        raise KeyboardInterrupt
    assert settled(channel, wire) == [('Basic.Reject', 7, True)]


@pytest.mark.parametrize(
    ('settle', 'sent'),
    [
        (lambda c: c.basic_ack(7), ('Basic.Ack', 7)),
        (lambda c: c.basic_ack(7, multiple=True), ('Basic.Ack', 7)),
        (lambda c: c.basic_ack(0, multiple=True), ('Basic.Ack', 0)),
        (lambda c: c.basic_ack(9, multiple=True), ('Basic.Ack', 9)),
        (lambda c: c.basic_nack(7), ('Basic.Nack', 7)),
        (lambda c: c.basic_reject(7, requeue=False), ('Basic.Reject', 7, False)),
    ],
)
@pytest.mark.parametrize('fails', [False, True])
def test_it_is_settled_in_the_block_by_hand(channel, wire, message, settle, sent, fails):
    try:
        with message.process():
            settle(channel)
            if fails:
                raise UserError
    except UserError:
        assert fails
    assert settled(channel, wire) == [sent]


def test_within_another(channel, wire, message):
    with message.process(), message.process(requeue=True):
        pass
    assert settled(channel, wire) == [('Basic.Ack', 7)]


def test_what_has_been_settled_before_in_a_loop(channel, wire, stream):
    message = next(stream)
    channel.basic_ack(7)
    with message.process():
        pass
    assert settled(channel, wire) == [('Basic.Ack', 7)]


@pytest.mark.parametrize('looped', [True, False])
def test_without_acknowledgements_nothing_is_sent(channel, wire, looped):
    seen = []
    if looped:
        stream = channel.consume('q', no_ack=True)
        wire.deliver(1, stream.consumer_tag, 7)
        seen.append(next(stream))
        stream.cancel()
    else:
        channel.basic_consume('q', 'tag', callback=seen.append, no_ack=True)
        wire.deliver(1, 'tag', 7)
        drain(channel.connection)
    with seen[0].process():
        pass
    assert settled(channel, wire) == []


def test_a_message_that_nobody_delivered(channel, wire):
    with pytest.raises(ValueError, match='not delivered'):
        amqp.Message('x').process()
    returned = []
    channel.events['basic_return'].add(lambda *args: returned.append(args[3]))
    wire.send_content(1, commands.Basic.Return(312, 'NO_ROUTE', 'e', 'k'), b'body')
    drain(channel.connection)
    with pytest.raises(ValueError, match='not delivered'):
        returned[0].process()


@pytest.mark.parametrize('opened', [True, False])
def test_the_channel_is_closed_meanwhile(channel, wire, message, opened):
    """The broker has put the message back; its tag means nothing on a channel opened anew."""
    with pytest.raises(amqp.RecoverableChannelError, match='requeued'), message.process():
        wire.send(1, CLOSE)
        with pytest.raises(amqp.NotFound):
            drain(channel.connection, 2)
        if opened:
            channel.open()
    assert settled(channel, wire) == []


@pytest.mark.parametrize('lost', ['channel', 'connection'])
def test_what_led_to_the_loss_goes_on(peer, connect, lost):
    channel = scripted(peer, connect)
    wire = peer.wire()
    seen = []
    channel.basic_consume('q', 'tag', callback=seen.append)
    wire.deliver(1, 'tag', 7)
    drain(channel.connection)
    error = amqp.NotFound if lost == 'channel' else amqp.RecoverableConnectionError
    with pytest.raises(error), seen[0].process():
        wire.send(1, CLOSE) if lost == 'channel' else wire.eof()
        channel.connection.drain_events(timeout=5)
    with pytest.raises(UserError), seen[0].process():
        raise UserError


def test_the_connection_is_lost_and_the_block_knows_nothing(peer, connect):
    channel = scripted(peer, connect)
    wire = peer.wire()
    stream = channel.consume('q')
    wire.deliver(1, stream.consumer_tag, 7)
    message = next(stream)
    with pytest.raises(amqp.RecoverableConnectionError), message.process():
        channel.connection.collect()


def test_a_loop_that_is_left_within_the_block(channel, wire, stream):
    """The block comes first: what it has settled the loop does not give back."""
    wire.deliver(1, stream.consumer_tag, 8)
    with pytest.raises(UserError), stream:
        for message in stream:
            with message.process():
                if message.delivery_tag == 8:
                    raise UserError
    assert settled(channel, wire) == [('Basic.Ack', 7), ('Basic.Reject', 8, False)]
