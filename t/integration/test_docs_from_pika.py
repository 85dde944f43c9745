"""The examples for those who come from Pika do what they say."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import amqp
from t.helpers.broker import Broker
from t.helpers.examples import EXAMPLES, load_example, running
from t.integration.support import bodies, publish, ready, receive, until

pytestmark = pytest.mark.integration

#: Those that end by themselves; the others run in a process of their own.
SHORT = frozenset(
    (
        'asyncio_publisher',
        'confirm',
        'connect',
        'consume_loop',
        'get',
        'mandatory',
        'publish',
        'threads',
        'tls',
        'tls_certificate',
    )
)
ENDLESS = frozenset(('blocked', 'consume_callback', 'recover'))


def program(name: str) -> Callable[..., Any]:
    main: Callable[..., Any] = load_example(f'from_pika/{name}')['main']
    return main


def test_every_example_is_run_here() -> None:
    names = {path.stem for path in (EXAMPLES / 'from_pika').glob('*.py')}
    assert names == SHORT | ENDLESS


def test_connect(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    program('connect')(f'{broker.host}:{broker.port}')
    assert capsys.readouterr().out == 'connected: True\n' * 2


def test_get(
    broker: Broker, channel: amqp.Channel, queue: str, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(channel, queue, 'the only one')
    program('get')(broker.url, queue)
    assert capsys.readouterr().out.startswith('the only one')
    program('get')(broker.url, queue)
    assert capsys.readouterr().out == 'no message\n'


def test_consume_by_a_callback(broker: Broker, channel: amqp.Channel, queue: str) -> None:
    publish(channel, queue, 'a', 'b', 'c')
    with running('from_pika/consume_callback', broker.url, queue) as example:
        example.wait_for('3 c')
        assert example.lines == ['1 a\n', '2 b\n', '3 c\n']
        # Ctrl-C between the last line and its ack would give the message back.
        until(lambda: broker.list_queues()[queue] == 0)
        assert example.stop(signal.SIGINT) == 0
    assert ready(channel, queue) == 0


def test_consume_in_a_loop(
    broker: Broker, channel: amqp.Channel, queue: str, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(channel, queue, *(f'{number} ' for number in range(25)))
    program('consume_loop')(broker.url, queue)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [str(number) for number in range(10)]
    assert ready(channel, queue) == 15


def test_publish(broker: Broker, channel: amqp.Channel, queue: str) -> None:
    channel.exchange_declare('test_exchange', 'direct')
    channel.queue_bind(queue, 'test_exchange', 'test_routing_key')
    program('publish')(broker.url)
    (message,) = receive(channel, queue)
    assert message.body == 'message body value'
    assert message.content_type == 'text/plain'
    assert message.delivery_mode == 1


def test_confirm(
    broker: Broker, channel: amqp.Channel, queue: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def outcome() -> str:
        program('confirm')(broker.url, queue)
        return capsys.readouterr().out

    assert outcome() == 'confirmed\n'
    assert ready(channel, queue) == 1
    full = '{"max-length": 1, "overflow": "reject-publish"}'
    broker.ctl('set_policy', queue, f'^{queue}$', full, '--apply-to', 'queues')
    # The queue is told of its policy in a while.
    until(lambda: outcome() == 'refused: Hello World!\n')
    broker.ctl('clear_policy', queue)


def test_mandatory(
    broker: Broker, channel: amqp.Channel, queue: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program('mandatory')(broker.url, queue)
    assert capsys.readouterr().out == 'published\n'
    assert ready(channel, queue) == 1
    program('mandatory')(broker.url, f'{queue}.nowhere')
    assert capsys.readouterr().out == f'no queue for {queue}.nowhere\n'


def test_threads(
    broker: Broker, channel: amqp.Channel, queue: str, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(channel, queue, *(f'{number:02}' for number in range(40)))
    program('threads')(broker.url, queue, idle=1)
    lines = sorted(capsys.readouterr().out.splitlines())
    assert lines == [f'working on {number:02}' for number in range(40)]
    assert ready(channel, queue) == 0


def test_tls(
    broker: Broker, channel: amqp.Channel, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program('tls')(f'localhost:{broker.tls_port}', broker.ca_file, name)
    assert capsys.readouterr().out.endswith('\nabc\n')
    channel.queue_delete(name)


def test_tls_with_a_certificate_of_our_own(
    broker: Broker, channel: amqp.Channel, queue: str
) -> None:
    channel.queue_bind(queue, 'amq.topic', 'hello.#')
    host = f'localhost:{broker.tls_port}'
    program('tls_certificate')(host, broker.ca_file, broker.client_cert, broker.client_key)
    assert bodies(receive(channel, queue)) == ['Hello World!']


# -- nodes that fail


@pytest.fixture
def failing(module_broker: Broker) -> Iterator[Broker]:
    yield module_broker
    module_broker.resume()
    module_broker.memory_alarm(False)


def test_blocked(failing: Broker) -> None:
    with running('from_pika/blocked', failing.url) as example:
        failing.memory_alarm(True)
        example.wait_for('blocked: low on memory')
        example.wait_for('not published: low on memory')
        failing.memory_alarm(False)
        example.wait_for('unblocked')
        assert example.stop(signal.SIGINT) == 0


@pytest.mark.slow
def test_recover(failing: Broker) -> None:
    def publish_one(body: str) -> None:
        with amqp.connect(failing.url, timeout=30) as connection:
            channel = connection.channel()
            channel.queue_declare('recovery-example', durable=False, auto_delete=True)
            publish(channel, 'recovery-example', body)

    nodes = 'amqp://127.0.0.1:1', failing.url, 'amqp://127.0.0.1:2'
    with running('from_pika/recover', *nodes) as example:
        publish_one('before')
        example.wait_for('before')
        failing.restart()
        example.wait_for('connecting anew')
        publish_one('after')
        example.wait_for('after')
        assert example.stop(signal.SIGINT) == 0


# -- asyncio


def test_the_asyncio_consumer_notices_that_the_broker_is_mute(failing: Broker) -> None:
    consumer_class = load_example('asyncio_consumer')['Consumer']

    async def consume() -> None:
        connection = amqp.connect(failing.url, heartbeat=1)
        queue = connection.channel().queue_declare('', exclusive=True).queue
        consumer = consumer_class(connection, queue, print)
        failing.suspend()
        await asyncio.wait_for(consumer.lost, 60)

    with pytest.raises(amqp.ConnectionForced, match='heartbeats missed'):
        asyncio.run(consume())


def test_asyncio_publisher(
    broker: Broker, channel: amqp.Channel, queue: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(program('asyncio_publisher')(broker.url, queue, 300))
    assert capsys.readouterr().out == '300 messages confirmed\n'
    until(lambda: ready(channel, queue) == 300)


def test_asyncio_publisher_tells_what_became_of_a_message(
    connection: amqp.Connection, channel: amqp.Channel, queue: str
) -> None:
    publisher_class = load_example('from_pika/asyncio_publisher')['Publisher']

    async def publish_some() -> list[BaseException | None]:
        publisher = publisher_class(connection)
        keys = queue, f'{queue}.nowhere', queue
        told: list[BaseException | None] = await asyncio.gather(
            *(publisher.publish(amqp.Message(key), key) for key in keys), return_exceptions=True
        )
        publisher.close()
        return told

    first, second, third = asyncio.run(publish_some())
    assert (first, third) == (None, None)
    assert isinstance(second, amqp.NoRoute)
    assert not connection.connected


def test_asyncio_publisher_tells_of_a_loss(connection: amqp.Connection, queue: str) -> None:
    publisher_class = load_example('from_pika/asyncio_publisher')['Publisher']

    async def publish_one() -> tuple[Any, BaseException]:
        publisher = publisher_class(connection)
        connection.channel().basic_publish(amqp.Message('x'), immediate=True)
        publishing = publisher.publish(amqp.Message('y'), queue)
        (told,) = await asyncio.gather(publishing, return_exceptions=True)
        return told, await publisher.lost

    told, lost = asyncio.run(publish_one())
    assert isinstance(told, amqp.AMQPError) or told is None
    assert isinstance(lost, amqp.AMQPNotImplementedError)
