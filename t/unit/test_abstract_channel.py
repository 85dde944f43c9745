"""Methods out, replies in: over real bytes, with a peer that answers when it is told to."""

from __future__ import annotations

import pickle
import struct
import traceback

import pytest
from pamqp import commands

import amqp
from amqp import spec
from amqp.abstract_channel import AbstractChannel
from amqp.replies import Reply
from t.helpers.peer import raw_method
from t.helpers.threads import Background, until


@pytest.fixture
def channel(peer, connect):
    """A channel of a peer that leaves purges, binds and gets unanswered."""
    peer.serve(mute=[commands.Queue.Purge, commands.Queue.Bind, commands.Basic.Get])
    return connect().channel()


@pytest.fixture
def wire(peer, channel):
    return peer.wire()


def requested(wire, kind, number):
    """Wait until the peer has so many requests of a kind."""
    until(lambda: len(wire.seen(kind)) >= number)


def test_a_reply_of_no_argument_one_and_several(channel, wire):
    assert channel.send_method(spec.Tx.Select, wait=spec.Tx.SelectOk) is None
    purge = Background(channel.queue_purge, 'q')
    requested(wire, commands.Queue.Purge, 1)
    wire.send(1, commands.Queue.PurgeOk(7))
    assert purge.result() == 7
    declare = (0, 'q', False, False, False, False, False, None)
    assert channel.send_method(
        spec.Queue.Declare, 'BsbbbbbF', declare, wait=spec.Queue.DeclareOk
    ) == ('q', 0, 0)


def test_a_single_argument_as_a_tuple(channel, wire):
    reply = Background(
        channel.send_method,
        spec.Queue.Purge,
        'Bsb',
        (0, 'q', False),
        wait=spec.Queue.PurgeOk,
        returns_tuple=True,
    )
    requested(wire, commands.Queue.Purge, 1)
    wire.send(1, commands.Queue.PurgeOk(7))
    assert reply.result() == (7,)


def test_one_of_several_replies(channel, wire):
    for answer in (commands.Basic.GetEmpty(), commands.Basic.GetEmpty()):
        get = Background(channel.basic_get, 'q')
        requested(wire, commands.Basic.Get, 1)
        wire.received.clear()
        wire.send(1, answer)
        assert get.result() is None
    assert not channel._replies


def test_a_callback_gets_the_arguments_of_the_reply(channel):
    seen = []
    channel.send_method(
        spec.Channel.Flow,
        'b',
        (True,),
        wait=spec.Channel.FlowOk,
        callback=lambda *args: seen.append(args),
    )
    assert seen == [(True,)]


def test_a_callback_without_a_reply_gets_the_channel(channel):
    seen = []
    channel.send_method(spec.Basic.Ack, 'Lb', (1, False), callback=lambda *args: seen.append(args))
    assert seen == [(channel,)]


def test_those_who_wait_for_the_same_get_theirs_in_the_order_of_their_requests(channel, wire):
    calls = []
    for number in range(5):
        calls.append(Background(channel.queue_purge, f'q{number}'))
        requested(wire, commands.Queue.Purge, number + 1)
    wire.send(1, *[commands.Queue.PurgeOk(number) for number in range(5)])
    assert [call.result() for call in calls] == list(range(5))


def test_an_argument_that_cannot_be_sent_is_named_and_nothing_is_sent(channel, wire):
    sent = channel.connection.bytes_sent
    with pytest.raises(amqp.EncodeError, match="argument 'queue': ") as caught:
        channel.queue_purge('x' * 256)
    assert (caught.value.position, caught.value.method_sig) == (1, spec.Queue.Purge)
    with pytest.raises(amqp.EncodeError) as caught:
        channel.send_method((99, 99), 's', (5,))
    assert caught.value.position == 0
    assert channel.connection.bytes_sent == sent
    assert not channel._replies
    assert channel.is_open


def test_an_expired_wait_leaves_nothing_behind(channel):
    with pytest.raises(TimeoutError):
        channel.wait(spec.Queue.BindOk, timeout=0)
    assert not channel._replies


def test_a_wait_for_what_comes_by_itself(channel, wire):
    wire.send(1, commands.Channel.Flow(False))
    assert channel.wait([spec.Channel.Flow], timeout=5) is False
    assert channel.active is False
    wire.send(1, commands.Channel.Flow(True))
    assert channel.wait(spec.Channel.Flow, timeout=5, returns_tuple=True) == (True,)


class UserError(Exception):
    pass


@pytest.mark.parametrize('error', [TimeoutError, UserError, KeyboardInterrupt])
def test_a_callback_that_raises_leaves_the_reply_to_nobody_else(channel, wire, error):
    """The error of a user's callback ends the call; its late reply is not the next call's."""

    def callback(message):
        raise error('mine')

    channel.basic_consume('q', 'tag', callback=callback, no_ack=True)
    wire.deliver(1, 'tag')
    with pytest.raises(error, match='mine'):
        channel.queue_purge('first')
    second = Background(channel.queue_purge, 'second')
    requested(wire, commands.Queue.Purge, 2)
    wire.send(1, commands.Queue.PurgeOk(1), commands.Queue.PurgeOk(2))
    assert second.result() == 2


def test_a_subclass_may_wait_in_its_own_way(peer, connect):
    waits = []

    class Channel(amqp.Channel):
        def wait(self, method, *args, **kwargs):
            waits.append(method)
            return super().wait(method, *args, **kwargs)

    class Connection(amqp.Connection):
        pass

    Connection.Channel = Channel
    peer.serve()
    channel = connect(Connection).channel()
    assert channel.queue_declare('q').queue == 'q'
    assert waits == [spec.Channel.OpenOk, spec.Queue.DeclareOk]
    assert channel._requested == {}


def test_a_reply_is_not_mixed_up_with_a_wait_for_another_method(peer, connect):
    """What `wait` is called with in a subclass need not be what was requested last."""

    class Channel(amqp.Channel):
        def wait(self, method, *args, **kwargs):
            if method == spec.Queue.PurgeOk:
                return super().wait(spec.Channel.Flow, *args, **kwargs)
            return super().wait(method, *args, **kwargs)

    class Connection(amqp.Connection):
        pass

    Connection.Channel = Channel
    peer.serve(
        on={
            commands.Queue.Purge: lambda wire, channel, _: wire.send(
                channel, commands.Queue.PurgeOk(3), commands.Channel.Flow(True)
            )
        }
    )
    assert connect(Connection).channel().queue_purge('q') is True


def test_the_loss_of_the_connection_ends_every_wait(channel, wire):
    calls = [Background(channel.queue_purge, 'q') for _ in range(4)]
    requested(wire, commands.Queue.Purge, 4)
    wire.eof()
    for call in calls:
        assert isinstance(call.error(), amqp.RecoverableConnectionError)


def test_the_close_of_the_channel_ends_every_wait(channel, wire):
    calls = [Background(channel.queue_purge, 'q') for _ in range(4)]
    requested(wire, commands.Queue.Purge, 4)
    wire.send(1, commands.Channel.Close(404, 'NOT_FOUND', 50, 30))
    for call in calls:
        error = call.error()
        assert isinstance(error, amqp.NotFound)
        assert error.reply_text == 'NOT_FOUND'


@pytest.mark.parametrize('end', ['close', 'loss'])
def test_each_who_waited_raises_an_error_of_its_own(channel, wire, end):
    """One object that many raise would collect the lines of all their tracebacks."""
    calls = [Background(channel.queue_purge, 'q') for _ in range(4)]
    requested(wire, commands.Queue.Purge, 4)
    if end == 'close':
        wire.send(1, commands.Channel.Close(404, 'NOT_FOUND', 50, 30))
    else:
        wire.send(0, commands.Connection.Close(320, 'CONNECTION_FORCED', 0, 0))
    errors = [call.error() for call in calls]
    assert len({id(error) for error in errors}) == 4
    for error in errors:
        functions = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert functions.count('queue_purge') == 1
    if end == 'loss':
        causes = [error.__cause__ or error for error in errors]
        assert {type(cause) for cause in causes} == {amqp.ConnectionForced}


def test_what_could_not_be_sent_waits_for_nothing(peer, connect):
    peer.serve(handshake={'frame_max': 4096})
    channel = connect().channel()
    with pytest.raises(amqp.EncodeError, match='frame_max 4096'):
        channel.queue_declare('q', arguments={'x': 'y' * 5000})
    assert not channel._replies
    assert channel.queue_declare('q').queue == 'q'


def test_a_channel_that_is_no_more(channel):
    channel.collect()
    for method in (spec.Queue.BindOk, [spec.Basic.GetOk, spec.Basic.GetEmpty]):
        with pytest.raises(amqp.RecoverableConnectionError):
            channel.wait(method)
    with pytest.raises(amqp.RecoverableConnectionError):
        channel.send_method(spec.Tx.Select, wait=spec.Tx.SelectOk)
    with pytest.raises(amqp.RecoverableConnectionError):
        channel.send_method(spec.Basic.Ack, 'Lb', (1, False))


def test_a_method_that_is_none(channel, wire):
    wire.send_raw(raw_method(1, (20, 99)))
    with pytest.raises(amqp.UnexpectedFrame, match=r'method \(20, 99\) on channel 1'):
        channel.connection.drain_events(timeout=5)


def test_octets_behind_the_arguments(channel, wire):
    wire.send_raw(raw_method(1, spec.Queue.PurgeOk, struct.pack('>IB', 1, 0)))
    with pytest.raises(amqp.FrameSyntaxError, match='1 octets behind the arguments'):
        channel.connection.drain_events(timeout=5)


def test_a_reply_nobody_asked_for_is_dropped(channel, wire):
    wire.send(1, commands.Queue.PurgeOk(1))
    channel.connection.drain_events(timeout=5)
    assert channel.queue_declare('q').queue == 'q'


def test_leaving_the_block_closes(channel, wire):
    with channel as entered:
        assert entered is channel
    assert channel.connection is None
    assert len(wire.seen(commands.Channel.Close)) == 1


def test_what_subclasses_have_to_bring():
    channel = AbstractChannel('connection', 1)
    assert (channel.connection, channel.channel_id) == ('connection', 1)
    with pytest.raises(NotImplementedError):
        channel.close()
    with pytest.raises(NotImplementedError):
        channel._reply_overdue(Reply((spec.Tx.SelectOk,)))
    for use in (
        lambda: channel.send_method(spec.Tx.Select),
        lambda: channel.send_method(spec.Tx.Select, wait=spec.Tx.SelectOk),
        lambda: channel.wait(spec.Tx.SelectOk),
    ):
        with pytest.raises(NotImplementedError):
            use()


def test_methods_of_the_connection_itself(channel, wire):
    connection = channel.connection
    assert connection.update_secret('new', 'why') is None
    assert wire.seen(commands.Connection.UpdateSecret)[0].new_secret == 'new'


def test_a_method_that_nobody_is_told_of(channel, wire):
    assert channel.send_method(spec.Basic.Ack, 'Lb', (7, False)) is None
    assert wire.seen(commands.Basic.Ack)[0].delivery_tag == 7


def test_it_belongs_to_its_process(peer, connect):
    peer.serve()
    connection = connect()
    for each in (connection, connection.channel()):
        with pytest.raises(TypeError, match=f"{type(each).__name__} can't be pickled"):
            pickle.dumps(each)
