"""Calls over a real node: many at once, from many threads, and with the node going away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import amqp
from amqp import rpc
from t.helpers.broker import Broker
from t.helpers.threads import Background
from t.integration.support import PATIENCE, publish, ready, until

pytestmark = pytest.mark.integration

Connect = Callable[..., amqp.Connection]


@pytest.fixture
def serving(connect: Connect) -> Iterator[Callable[..., amqp.Channel]]:
    """Serve a queue, in a thread with a connection of its own."""
    connections = []
    servers = []

    def serve(queue: str, handler: Callable[[amqp.Message], object]) -> amqp.Channel:
        connection = connect()
        channel = connection.channel()
        channel.basic_qos(0, 50, False)
        rpc.serve(channel, queue, handler)

        def drain() -> None:
            while True:
                connection.drain_events()

        connections.append(connection)
        servers.append(Background(drain))
        return channel

    yield serve
    for connection in connections:
        connection.collect()
    for server in servers:
        server.error()


def upper(request: amqp.Message) -> str:
    return request.body.upper()


def test_a_call(connection: amqp.Connection, queue: str, serving) -> None:
    serving(queue, upper)
    with rpc.Client(connection) as client:
        assert client.call('hello', queue).body == 'HELLO'
        assert client.call('by an exchange', queue, '').body == 'BY AN EXCHANGE'


def test_a_thousand_calls_under_way(connection: amqp.Connection, queue: str, serving) -> None:
    with rpc.Client(connection) as client:
        calls = [client.call_async(f'call {number}', queue) for number in range(1000)]
        until(lambda: ready(connection.channel(), queue) == 1000)
        assert not any(call.done() for call in calls)
        serving(queue, upper)
        assert [call.result().body for call in reversed(calls)] == [
            f'CALL {number}' for number in reversed(range(1000))
        ]


@pytest.mark.parametrize('drains', [False, True])
def test_threads_share_a_client(connect: Connect, queue: str, serving, drains: bool) -> None:
    serving(queue, upper)
    connection = connect()
    client = rpc.Client(connection)
    if drains:

        def drain() -> None:
            while True:
                connection.drain_events()

        drainer = Background(drain)

    def call_often(name: str) -> bool:
        return all(
            client.call(f'{name} {number}', queue).body == f'{name} {number}'.upper()
            for number in range(50)
        )

    callers = [Background(call_often, name) for name in 'abcdefgh']
    assert all(caller.result() for caller in callers)
    connection.collect()
    if drains:
        drainer.error()


def test_unroutable(connection: amqp.Connection, name: str, queue: str, serving) -> None:
    serving(queue, upper)
    with rpc.Client(connection) as client:
        began = time.monotonic()
        with pytest.raises(amqp.NoRoute) as caught:
            client.call('x', name + '-that-is-not')
        assert time.monotonic() - began < 5
        assert caught.value.routing_key == name + '-that-is-not'
        # The client is as it was.
        assert client.call('x', queue).body == 'X'


def test_unknown_ids_are_passed_over(connection: amqp.Connection, queue: str, serving) -> None:
    def answer_wrongly(request: amqp.Message) -> str:
        for correlation_id in ('unheard-of', None):
            request.channel.basic_publish(
                amqp.Message('wrong', correlation_id=correlation_id),
                routing_key=request.properties['reply_to'],
            )
        return 'right'

    serving(queue, answer_wrongly)
    with rpc.Client(connection) as client:
        assert [client.call('x', queue).body for _ in range(10)] == ['right'] * 10


def test_the_time_of_a_call(connection: amqp.Connection, queue: str, serving) -> None:
    with rpc.Client(connection) as client:
        with pytest.raises(amqp.RPCTimeout):
            client.call('nobody serves', queue, timeout=0.2)
        # The request went with it.
        until(lambda: ready(connection.channel(), queue) == 0)
        go_on = threading.Event()

        def slow(request: amqp.Message) -> str:
            if request.body == 'slow':
                go_on.wait(PATIENCE)
            return request.body

        serving(queue, slow)
        with pytest.raises(amqp.RPCTimeout):
            client.call('slow', queue, timeout=0.2)
        go_on.set()
        # The late reply comes first, and is nobody's.
        assert client.call('fast', queue).body == 'fast'


def test_an_exchange_that_is_not_there(connection: amqp.Connection, name: str, queue, serving):
    serving(queue, upper)
    with rpc.Client(connection) as client:
        for _ in range(3):
            with pytest.raises(amqp.NotFound, match='no exchange'):
                client.call('x', 'key', exchange=name + '-nowhere')
            assert client.call('x', queue).body == 'X'


def test_a_handler_that_fails(
    connection: amqp.Connection, channel: amqp.Channel, queue: str
) -> None:
    def handler(request: amqp.Message) -> None:
        raise KeyError('mine')

    rpc.serve(channel, queue, handler)
    with rpc.Client(connection) as client:
        call = client.call_async('x', queue, timeout=0.5)
        with pytest.raises(KeyError):
            call.result()  # the only thread runs the callbacks, too
        with pytest.raises(amqp.RPCTimeout):
            call.result()
    assert ready(connection.channel(), queue) == 0


def test_requests_of_others_are_served(channel: amqp.Channel, queue: str, name: str) -> None:
    """A caller of another library, with a queue of its own for replies."""
    replies = channel.queue_declare(exclusive=True).queue
    publish(channel, queue, 'x', reply_to=replies, correlation_id='17')
    publish(channel, queue, 'asks for none')
    rpc.serve(channel, queue, upper)
    until(lambda: _poll(channel.connection) or ready(channel, replies))
    reply = channel.basic_get(replies, no_ack=True)
    assert (reply.body, reply.properties['correlation_id']) == ('X', '17')
    until(lambda: _poll(channel.connection) or ready(channel, queue) == 0)


def _poll(connection: amqp.Connection) -> None:
    try:
        connection.drain_events(timeout=0.01)
    except TimeoutError:
        pass


@contextmanager
def calls_under_way(connection: amqp.Connection) -> Iterator[list[Background]]:
    connection.channel().queue_declare('rpc', durable=True, auto_delete=False)
    client = rpc.Client(connection)
    calls = [client.call_async('x', 'rpc', timeout=PATIENCE) for _ in range(100)]
    yield [Background(call.result) for call in calls]
    with pytest.raises(amqp.RecoverableConnectionError):
        client.call('y', 'rpc')


@pytest.mark.parametrize('ends', ['restart', 'kill'])
def test_a_restart_ends_all_calls(private_broker: Broker, connect: Connect, ends: str) -> None:
    connection = connect(f'{private_broker.host}:{private_broker.port}')
    with calls_under_way(connection) as calls:
        getattr(private_broker, ends)()
        for call in calls:
            assert isinstance(call.error(), amqp.RecoverableConnectionError)
