"""Messages in batches: what goes out when, and what is told of it."""

from __future__ import annotations

import pytest
from pamqp import commands

import amqp
from amqp import Message
from t.helpers.threads import SOON, Background

ACK, NACK = commands.Basic.Ack, commands.Basic.Nack
CLOSE = commands.Channel.Close(404, 'NOT_FOUND', 60, 40)


@pytest.fixture
def publisher(peer, connect):
    """A connection, a channel, and the wire, which confirms nothing."""
    peer.serve(confirms=False)
    connection = connect()
    return connection, connection.channel(), peer.wire()


def messages(count):
    return [Message(f'{number}') for number in range(count)]


def publish(batch, published, **options):
    for message in published:
        batch.publish(message, routing_key='q', **options)


def in_block(channel, published, **options):
    with channel.batch() as batch:
        publish(batch, published, **options)


# -- sent as they come


def test_messages_go_out_together_and_are_confirmed_at_the_end(publisher):
    connection, channel, wire = publisher
    channel.confirm_select()

    def block():
        with channel.batch() as batch:
            assert batch.channel is channel
            sent = connection.bytes_sent
            publish(batch, messages(20))
            assert connection.bytes_sent == sent

    call = Background(block)
    assert [each.body for each in wire.messages(20)] == [b'%d' % each for each in range(20)]
    wire.send(1, ACK(19, multiple=True))
    wire.send(1, ACK(20))
    call.result()
    assert channel.wait_for_confirms() is None


def test_it_puts_the_channel_into_confirm_mode(publisher):
    _, channel, wire = publisher
    call = Background(in_block, channel, messages(2))
    wire.messages(2)
    wire.send(1, ACK(2, multiple=True))
    call.result()
    assert len(wire.seen(commands.Confirm.Select)) == 1
    with channel.batch():
        pass  # there is nothing to wait for


def test_the_error_at_the_end_tells_which_failed(publisher):
    _, channel, wire = publisher
    published = messages(4)
    call = Background(in_block, channel, published, mandatory=True)
    wire.messages(4)
    wire.send_content(1, commands.Basic.Return(312, 'NO_ROUTE', '', 'q'), b'2')
    wire.send(1, NACK(1), ACK(4, multiple=True))
    error = call.error()
    assert isinstance(error, amqp.ConfirmsFailed)
    assert [type(each) for each in error.failures] == [amqp.MessageNacked, amqp.NoRoute]
    assert [each.message for each in error.failures] == [published[0], published[2]]
    assert channel.wait_for_confirms() is None  # each is told of once
    with pytest.raises(TimeoutError):
        channel.connection.drain_events(timeout=0)


def test_failures_found_within_the_block_are_told_too(publisher):
    """However many: a batch knows its own."""
    connection, channel, wire = publisher
    other = connection.channel()
    count = 1_200
    published = messages(count)

    def block():
        with channel.batch() as batch:
            publish(batch, published[:-1])
            other.queue_declare('q')  # what was published before is sent by then
            wire.send(1, NACK(count - 1, multiple=True))
            other.queue_declare('q')  # its reply comes behind that
            publish(batch, published[-1:])

    call = Background(block)
    wire.messages(count)
    wire.send(1, ACK(count))
    error = call.error()
    assert isinstance(error, amqp.ConfirmsFailed)
    assert [each.message for each in error.failures] == published[:-1]


def test_only_its_own_messages_are_waited_for(publisher):
    _, channel, wire = publisher
    channel.confirm_select()
    channel.basic_publish(Message('not in it'), routing_key='q')
    call = Background(in_block, channel, messages(2))
    wire.messages(3)
    wire.send(1, ACK(3), ACK(2))
    call.result()


def test_a_block_that_raises_sends_and_does_not_wait(publisher):
    _, channel, wire = publisher
    published = messages(3)
    channel.confirm_select()
    with pytest.raises(KeyError, match='mine'), channel.batch() as batch:
        publish(batch, published)
        raise KeyError('mine')
    assert len(wire.messages(3)) == 3
    wire.send(1, NACK(2), ACK(3), ACK(1))
    with pytest.raises(amqp.ConfirmsFailed) as caught:
        channel.wait_for_confirms()  # whoever asks is told
    assert [each.message for each in caught.value.failures] == [published[1]]


def test_confirms_that_do_not_come(publisher):
    _, channel, wire = publisher
    published = messages(3)
    with pytest.raises(TimeoutError, match=r'3 of the messages .* 0\.1 s'):
        with channel.batch(timeout=0.1) as batch:
            publish(batch, published)
    wire.send(1, NACK(3, multiple=True))
    with pytest.raises(amqp.ConfirmsFailed) as caught:
        channel.wait_for_confirms()
    assert [each.message for each in caught.value.failures] == published


@pytest.mark.parametrize('where', ['at its end', 'within'])
def test_a_channel_that_is_lost(publisher, where):
    connection, channel, wire = publisher
    other = connection.channel()

    def block():
        with channel.batch() as batch:
            publish(batch, messages(2))
            if where == 'within':
                wire.send(1, CLOSE)
                other.queue_declare('q')  # its reply comes behind that
                publish(batch, messages(1))  # of no more use: an earlier one is in doubt
                raise AssertionError

    call = Background(block)
    wire.messages(2)
    if where == 'at its end':
        wire.send(1, CLOSE)
    assert isinstance(call.error(), amqp.NotFound)
    assert len(wire.published) == 2


@pytest.mark.parametrize('end', ['eof', 'reset'])
def test_a_connection_that_is_lost(publisher, end):
    _, channel, wire = publisher
    call = Background(in_block, channel, messages(2))
    wire.messages(2)
    getattr(wire, end)()
    assert isinstance(call.error(), amqp.RecoverableConnectionError)


def test_wrong_messages_are_told_at_once(publisher):
    _, channel, wire = publisher
    channel.confirm_select()
    with channel.batch(timeout=5) as batch:
        with pytest.raises(amqp.EncodeError, match="argument 'msg'"):
            batch.publish('x')
        with pytest.raises(amqp.EncodeError, match="argument 'exchange'"):
            batch.publish(Message('x'), 'e' * 256)
    assert not wire.published


def test_a_batch_that_is_over_takes_nothing(publisher):
    _, channel, _ = publisher
    with channel.batch() as batch:
        pass
    with pytest.raises(RuntimeError, match='over'):
        batch.publish(Message('x'))


def test_a_batch_in_a_window(publisher):
    _, channel, wire = publisher
    channel.confirm_select(window=2)
    call = Background(in_block, channel, messages(6))
    for tag in range(2, 7, 2):
        wire.messages(tag)
        assert len(wire.published) == tag
        wire.send(1, ACK(tag, multiple=True))
    call.result()


# -- held back


def test_held_messages_go_out_with_a_flush(publisher):
    connection, channel, wire = publisher
    batch = channel.create_publish_batch(max_size=10)
    assert batch.channel is channel
    sent = connection.bytes_sent
    publish(batch, messages(3), mandatory=True)
    assert connection.bytes_sent == sent
    batch.flush()
    published = wire.messages(3)
    assert [each.body for each in published] == [b'0', b'1', b'2']
    assert all(each.method.mandatory and each.method.routing_key == 'q' for each in published)
    sent = connection.bytes_sent
    batch.flush()
    assert connection.bytes_sent == sent


def test_held_messages_go_out_when_there_are_enough(publisher):
    _, channel, wire = publisher
    batch = channel.create_publish_batch(max_size=2)
    publish(batch, messages(5))
    assert len(wire.messages(4)) == 4
    batch.close()
    channel.queue_declare('q')
    assert len(wire.published) == 4


def test_held_messages_are_discarded(publisher):
    _, channel, wire = publisher
    batch = channel.create_publish_batch(max_size=10)
    publish(batch, messages(3))
    batch.discard()
    publish(batch, [Message('last')])
    batch.flush()
    assert [each.body for each in wire.messages(1)] == [b'last']


@pytest.mark.parametrize('option', [True, False])
def test_held_messages_are_confirmed_where_others_are(peer, connect, option):
    peer.serve(confirms=False)
    channel = connect(confirm_publish=option).channel()
    if not option:
        channel.confirm_select()
    published = messages(3)
    batch = channel.create_publish_batch(max_size=10)
    publish(batch, published)
    call = Background(batch.flush)
    peer.wire().messages(3)
    peer.wire().send(1, NACK(2), ACK(3), ACK(1))
    error = call.error()
    assert isinstance(error, amqp.ConfirmsFailed)
    assert [each.message for each in error.failures] == [published[1]]
    batch.flush()  # nothing is tried again


def test_the_wait_for_their_confirms_ends(peer, connect):
    peer.serve(confirms=False)
    channel = connect(confirm_publish=True, rpc_timeout=SOON).channel()
    batch = channel.create_publish_batch(max_size=10)
    publish(batch, messages(1), confirm_timeout=0.05)
    publish(batch, messages(1), confirm_timeout=0.01)
    publish(batch, messages(1))
    with pytest.raises(TimeoutError, match=r'3 of the messages .* 0\.05 s'):
        batch.flush()


@pytest.mark.parametrize(
    ('args', 'text'),
    [
        (('x',), "argument 'msg'"),
        ((Message('x'), 'e' * 256), "argument 'exchange'"),
        ((Message(5),), 'neither bytes nor str'),
        ((Message('x', application_headers={'a': object()}),), 'a'),
    ],
)
def test_what_cannot_be_sent_is_not_held(publisher, args, text):
    _, channel, wire = publisher
    batch = channel.create_publish_batch()
    with pytest.raises(amqp.EncodeError, match=text):
        batch.publish(*args)
    publish(batch, messages(1))
    batch.flush()
    assert len(wire.messages(1)) == 1


@pytest.mark.parametrize('max_size', [0, -1, 1.5, '3', True, None])
def test_the_size_has_to_be_a_number_of_messages(publisher, max_size):
    _, channel, _ = publisher
    with pytest.raises(ValueError, match='max_size'):
        channel.create_publish_batch(max_size)


def test_a_closed_batch(publisher):
    _, channel, _ = publisher
    batch = channel.create_publish_batch()
    batch.close()
    batch.close()
    batch.discard()
    for call in (batch.flush, lambda: batch.publish(Message('x'))):
        with pytest.raises(RuntimeError, match='closed'):
            call()


def test_held_messages_of_a_lost_connection(publisher):
    connection, channel, _ = publisher
    batch = channel.create_publish_batch()
    publish(batch, messages(1))
    connection.collect()
    with pytest.raises(amqp.RecoverableConnectionError):
        batch.flush()
    batch.close()
