"""Calls and their replies, which a scripted peer mixes, loses and makes up."""

from __future__ import annotations

import threading
import time

import pytest
from pamqp import commands
from pamqp.body import ContentBody

import amqp
from amqp import rpc
from amqp.rpc import Client
from amqp.states import ChannelState
from t.helpers.threads import SOON, Background, until

PROPERTIES = commands.Basic.Properties


def answer(wire, request, body=None, delivery_tag=1, correlation_id=None, tag=None):
    """Reply to a request as the broker would."""
    tag = tag or wire.seen(commands.Basic.Consume)[-1].consumer_tag
    wire.deliver(
        request.channel,
        tag,
        delivery_tag,
        request.body if body is None else body,
        properties=PROPERTIES(
            correlation_id=correlation_id or request.header.properties.correlation_id
        ),
    )


@pytest.fixture
def client(peer, connect):
    peer.serve()
    return Client(connect())


def requests(peer, count):
    return peer.wire().messages(count)


def test_a_call(peer, client):
    call = Background(client.call, b'question', 'server', content_type='text/plain')
    [request] = requests(peer, 1)
    [consume] = peer.wire().seen(commands.Basic.Consume)
    assert consume.queue == 'amq.rabbitmq.reply-to'
    assert consume.no_ack
    assert request.body == b'question'
    assert request.method.routing_key == 'server'
    assert request.method.exchange == ''
    assert request.method.mandatory
    properties = request.header.properties
    assert properties.reply_to == 'amq.rabbitmq.reply-to'
    assert properties.content_type == 'text/plain'
    assert properties.expiration == '5000'  # of the connection's rpc_timeout
    answer(peer.wire(), request, b'reply')
    reply = call.result()
    assert reply.body == b'reply'
    assert reply.properties['correlation_id'] == properties.correlation_id


def test_replies_in_any_order(peer, client):
    calls = [client.call_async(str(number), 'server') for number in range(100)]
    assert not any(call.done() for call in calls)
    sent = requests(peer, 100)
    assert len({each.header.properties.correlation_id for each in sent}) == 100
    for request in reversed(sent):
        answer(peer.wire(), request)
    assert [call.result().body for call in calls] == [str(n).encode() for n in range(100)]
    assert all(call.done() for call in calls)
    assert calls[0].result() is calls[0].result()


def test_what_is_nobodys_is_passed_over(peer, client):
    call = client.call_async('x', 'server')
    [request] = requests(peer, 1)
    answer(peer.wire(), request, b'wrong', correlation_id='unheard-of')
    peer.wire().deliver(request.channel, 'tag', 1, b'without')
    answer(peer.wire(), request, b'right')
    answer(peer.wire(), request, b'again')
    assert call.result().body == b'right'
    other = client.call_async('y', 'server')
    answer(peer.wire(), requests(peer, 2)[1], b'other')
    assert other.result().body == b'other'
    assert call.result().body == b'right'


def test_ids_differ_between_clients(peer, connect):
    peer.serve()
    connection = connect()
    ids = [Client(connection).call_async('x', 'q').correlation_id for _ in range(2)]
    assert len(set(ids)) == 2


def test_the_time_of_a_call(peer, client):
    began = time.monotonic()
    with pytest.raises(amqp.RPCTimeout, match=r'no reply to the call within 0\.1 s') as caught:
        client.call('x', 'server', timeout=0.1)
    assert 0.1 <= time.monotonic() - began < 1
    # Not to be taken for an expired poll, where this runs within a callback.
    assert not isinstance(caught.value, TimeoutError)
    [request] = requests(peer, 1)
    assert request.header.properties.expiration == '100'
    # The late reply is nobody's, and the client is as it was.
    answer(peer.wire(), request, b'late')
    call = client.call_async('y', 'server')
    answer(peer.wire(), requests(peer, 2)[1], b'in time')
    assert call.result().body == b'in time'


def test_what_is_overdue_stays_so(peer, client):
    call = client.call_async('x', 'server', timeout=0.05)
    with pytest.raises(amqp.RPCTimeout):
        call.result()
    answer(peer.wire(), requests(peer, 1)[0], b'late')
    with pytest.raises(TimeoutError):
        while True:
            client._connection.drain_events(timeout=0.05)
    with pytest.raises(amqp.RPCTimeout):
        call.result()
    assert not client._channel._calls


def test_the_time_begins_with_the_call(peer, client):
    call = client.call_async('x', 'server', timeout=0.05)
    until(lambda: call.deadline.expired(time.monotonic()))
    with pytest.raises(amqp.RPCTimeout):
        call.result()
    with pytest.raises(amqp.RPCTimeout):  # again
        call.result()


def test_calls_that_nobody_asks_after_are_forgotten(peer, client):
    calls = [client.call_async('x', 'server', timeout=0.01) for _ in range(3)]
    until(lambda: calls[-1].deadline.expired(time.monotonic()))
    client.call_async('y', 'server')
    assert len(client._channel._calls) == 1
    assert all(call.done() for call in calls)
    with pytest.raises(amqp.RPCTimeout):
        calls[0].result()


@pytest.mark.parametrize(
    ('timeout', 'options', 'expiration'),
    [
        (0.5, {}, '500'),
        (None, {}, '5000'),
        (0.5, {'expiration': '7'}, '7'),
        (0.5, {'expiration': None}, None),
        (10_000_000, {}, None),  # more than RabbitMQ takes
    ],
)
def test_the_expiration_of_requests(peer, client, timeout, options, expiration):
    client.call_async('x', 'server', timeout=timeout, **options)
    assert requests(peer, 1)[0].header.properties.expiration == expiration


def test_the_clients_own_timeout(peer, connect):
    peer.serve()
    with Client(connect(), timeout=0.1) as client, pytest.raises(amqp.RPCTimeout):
        client.call('x', 'server')


def test_unroutable(peer, connect):
    def published(wire, channel, frame):
        pass

    peer.serve()
    client = Client(connect())
    first, second = (client.call_async(str(number), 'nowhere') for number in range(2))
    sent = requests(peer, 2)
    peer.wire().send_content(
        sent[1].channel,
        commands.Basic.Return(312, 'NO_ROUTE', '', 'nowhere'),
        sent[1].body,
        properties=PROPERTIES(
            correlation_id=sent[1].header.properties.correlation_id,
            reply_to='amq.rabbitmq.reply-to',
        ),
    )
    with pytest.raises(amqp.NoRoute) as caught:
        second.result()
    assert caught.value.message.body == b'1'
    assert caught.value.routing_key == 'nowhere'
    assert not first.done()
    answer(peer.wire(), sent[0])
    assert first.result().body == b'0'
    with pytest.raises(TimeoutError):  # nothing is left to be raised from a drain
        client._connection.drain_events(timeout=0.02)


@pytest.mark.parametrize('drains', [False, True])
def test_several_threads(peer, connect, drains):
    """Each gets its own reply, whoever reads it."""
    peer.serve()
    connection = connect()
    client = Client(connection)
    if drains:

        def drain():
            while True:
                connection.drain_events()

        drainer = Background(drain)

    def call_often(name):
        return [client.call(f'{name}-{n}', 'server').body.decode() for n in range(25)]

    def serve():
        for number in range(200):
            answer(peer.wire(), requests(peer, number + 1)[number])

    server = Background(serve)
    callers = [Background(call_often, name) for name in range(8)]
    for name, caller in enumerate(callers):
        assert caller.result() == [f'{name}-{n}' for n in range(25)]
    server.result()
    connection.collect()
    if drains:
        assert isinstance(drainer.error(), amqp.RecoverableConnectionError)


def test_no_reply_waits_for_the_next_frame(peer, connect):
    """Replies to two threads come in one stroke; then the broker is silent."""
    peer.serve()
    client = Client(connect())
    for _ in range(50):
        before = len(peer.wire().published)
        callers = [Background(client.call, 'x', 'server', timeout=SOON) for _ in range(4)]
        sent = requests(peer, before + 4)[before:]
        tag = peer.wire().seen(commands.Basic.Consume)[-1].consumer_tag
        began = time.monotonic()
        for request in sent:
            answer(peer.wire(), request, tag=tag)
        for caller in callers:
            caller.result()
        assert time.monotonic() - began < 2


def test_within_a_callback(peer, connect):
    """A worker may call others while it handles a message."""

    def consumed(wire, channel, frame):
        wire.send(channel, commands.Basic.ConsumeOk(frame.consumer_tag))
        if frame.queue == 'work':
            wire.deliver(channel, frame.consumer_tag)

    peer.serve(on={commands.Basic.Consume: consumed})
    connection = connect()
    client = Client(connection)
    results = []

    def on_message(message):
        results.append(client.call('x', 'server').body)

    connection.channel().basic_consume('work', callback=on_message)
    drain = Background(connection.drain_events)
    [request] = requests(peer, 1)
    answer(peer.wire(), request, tag=peer.wire().seen(commands.Basic.Consume)[0].consumer_tag)
    drain.result()
    assert results == [b'x']


def test_a_callbacks_own_timeout(peer, connect):
    peer.serve()
    connection = connect()
    client = Client(connection)

    def on_message(message):
        raise TimeoutError('mine')

    channel = connection.channel()
    channel.basic_consume('work', 'worker', callback=on_message)
    call = client.call_async('x', 'server')
    [request] = requests(peer, 1)
    peer.wire().deliver(channel.channel_id, 'worker')
    with pytest.raises(TimeoutError, match='mine'):
        call.result()
    assert not call.done()
    answer(peer.wire(), request, tag=peer.wire().seen(commands.Basic.Consume)[0].consumer_tag)
    assert call.result().body == b'x'


def test_a_closed_channel_ends_calls_and_is_opened_again(peer, connect):
    peer.serve()
    client = Client(connect())
    calls = [client.call_async('x', 'server') for _ in range(3)]
    [first, *_] = requests(peer, 3)
    peer.wire().send(first.channel, commands.Channel.Close(404, 'NOT_FOUND - no exchange', 60, 40))
    for call in calls:
        with pytest.raises(amqp.NotFound, match='no exchange'):
            call.result()
    call = client.call_async('y', 'server')
    assert len(peer.wire().seen(commands.Basic.Consume)) == 2
    answer(peer.wire(), requests(peer, 4)[3])
    assert call.result().body == b'y'


@pytest.mark.parametrize('step', ['_basic_publish', '_prepare'])
def test_a_request_waits_for_the_consumer(peer, connect, monkeypatch, step):
    """The channel is closed between the look at it and the publish."""
    peer.serve()
    client = Client(connect())
    channel = client._channel
    original = getattr(channel, step)
    first = [True]

    def closed_meanwhile(*args, **kwargs):
        if step == '_prepare':
            original(*args, **kwargs)
        if first:
            first.clear()
            peer.wire().send(channel.channel_id, commands.Channel.Close(406, 'MEANWHILE', 0, 0))
            until(lambda: client._connection.blocking_read(SOON) and not channel.is_open)
            channel._take_unreported()
        return None if step == '_prepare' else original(*args, **kwargs)

    monkeypatch.setattr(channel, step, closed_meanwhile)
    call = client.call_async('x', 'server')
    [request] = requests(peer, 1)
    received = [type(frame) for _, frame in peer.wire().received]
    assert received.count(commands.Basic.Consume) == 2
    assert received.index(ContentBody) > len(received) - 3
    answer(peer.wire(), request)
    assert call.result().body == b'x'


def test_a_channel_that_is_about_to_lose_its_state(peer, client, monkeypatch):
    """The thread that reads the broker's close has changed the state, and no more yet."""
    channel = client._channel
    prepare = channel._prepare
    states = [ChannelState.REOPENABLE]

    def overtaken(sig):
        prepare(sig)
        if sig == amqp.spec.Basic.Publish and states:
            channel._state.state = states.pop()

    monkeypatch.setattr(channel, '_prepare', overtaken)
    call = client.call_async('x', 'server')
    assert not states
    answer(peer.wire(), requests(peer, 1)[0])
    assert call.result().body == b'x'


def test_a_lost_connection_ends_all_calls(peer, connect):
    peer.serve()
    client = Client(connect())
    calls = [client.call_async('x', 'server') for _ in range(3)]
    waiting = [Background(call.result) for call in calls[:2]]
    requests(peer, 3)
    peer.wire().reset()
    for caller in waiting:
        assert isinstance(caller.error(), amqp.RecoverableConnectionError)
    with pytest.raises(amqp.RecoverableConnectionError):
        calls[2].result()
    with pytest.raises(amqp.RecoverableConnectionError):
        client.call('y', 'server')


def test_closing(peer, connect):
    peer.serve()
    connection = connect()
    with Client(connection) as client:
        call = client.call_async('x', 'server')
        requests(peer, 1)
    assert peer.wire().seen(commands.Channel.Close)
    with pytest.raises(amqp.RecoverableConnectionError):
        call.result()
    with pytest.raises(amqp.RecoverableConnectionError):
        client.call('y', 'server')
    assert connection.is_alive()


def test_what_cannot_be_sent_leaves_nothing_behind(peer, client):
    with pytest.raises(amqp.EncodeError):
        client.call(object(), 'server')
    with pytest.raises(TypeError):
        client.call('x', 'server', reply_to='mine')
    assert not client._channel._calls
    call = client.call_async('x', 'server')
    answer(peer.wire(), requests(peer, 1)[0])
    assert call.result().body == b'x'


def test_with_confirm_publish(peer, connect):
    peer.serve()
    client = Client(connect(confirm_publish=True))
    call = client.call_async('x', 'server')
    answer(peer.wire(), requests(peer, 1)[0])
    assert call.result().body == b'x'
    assert not [f for _, f in peer.wire().received if isinstance(f, commands.Confirm.Select)]


def test_a_broker_that_blocks_uses_up_the_time(peer, connect):
    peer.serve()
    connection = connect()
    client = Client(connection)
    peer.wire().send(0, commands.Connection.Blocked('low on memory'))
    until(lambda: connection.blocking_read(SOON) or connection._blocked_reason)
    with pytest.raises(amqp.RPCTimeout):
        client.call('x', 'server', timeout=0.05)
    assert not peer.wire().published


def test_how_a_call_is_shown(peer, client):
    call = client.call_async('x', 'server')
    assert repr(call) == f'<Call {call.correlation_id} (under way)>'
    answer(peer.wire(), requests(peer, 1)[0])
    call.result()
    assert repr(call) == f'<Call {call.correlation_id} (replied to)>'
    late = client.call_async('x', 'server', timeout=0)
    with pytest.raises(amqp.RPCTimeout):
        late.result()
    assert repr(late) == f'<Call {late.correlation_id} (failed)>'


# -- the server's side


def consumed_with(*messages):
    def consumed(wire, channel, frame):
        wire.send(channel, commands.Basic.ConsumeOk(frame.consumer_tag))
        for number, (body, properties) in enumerate(messages, 1):
            wire.deliver(channel, frame.consumer_tag, number, body, properties=properties)

    return {commands.Basic.Consume: consumed}


def test_serving(peer, connect):
    asked = PROPERTIES(reply_to='amq.rabbitmq.reply-to.x', correlation_id='17')
    peer.serve(on=consumed_with((b'21', asked)))
    connection = connect()
    tag = rpc.serve(
        connection.channel(), 'double', lambda m: str(2 * int(m.body)), consumer_tag='server'
    )
    assert tag == 'server'
    connection.drain_events(timeout=SOON)
    [reply] = peer.wire().messages(1)
    assert reply.body == b'42'
    assert reply.method.routing_key == 'amq.rabbitmq.reply-to.x'
    assert not reply.method.mandatory
    assert reply.header.properties.correlation_id == '17'
    [ack] = peer.wire().seen(commands.Basic.Ack)
    assert ack.delivery_tag == 1
    kinds = [type(frame) for _, frame in peer.wire().received]
    assert kinds.index(commands.Basic.Ack) > kinds.index(commands.Basic.Publish)


def test_a_handler_that_fails(peer, connect):
    asked = PROPERTIES(reply_to='r', correlation_id='17')
    peer.serve(on=consumed_with((b'', asked)))
    connection = connect()

    def handler(message):
        raise KeyError('mine')

    rpc.serve(connection.channel(), 'q', handler)
    with pytest.raises(KeyError, match='mine'):
        connection.drain_events(timeout=SOON)
    [reject] = peer.wire().seen(commands.Basic.Reject)
    assert reject.delivery_tag == 1
    assert not reject.requeue
    assert not peer.wire().published


def test_a_request_that_asks_for_no_reply(peer, connect):
    peer.serve(on=consumed_with((b'', PROPERTIES(correlation_id='17'))))
    connection = connect()
    rpc.serve(connection.channel(), 'q', lambda message: 'x')
    connection.drain_events(timeout=SOON)
    assert peer.wire().seen(commands.Basic.Ack)
    assert not peer.wire().published


def test_replying_by_hand(peer, connect):
    peer.serve()
    channel = connect().channel()
    request = amqp.Message('', channel=channel, reply_to='r')
    replied = threading.Thread(
        target=rpc.reply, args=(request, b'\0'), kwargs={'content_type': 'application/x'}
    )
    replied.start()
    replied.join()
    [reply] = peer.wire().messages(1)
    assert reply.header.properties.content_type == 'application/x'
    assert not reply.header.properties.correlation_id
