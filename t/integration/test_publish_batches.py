"""Batches of messages, by themselves and as Kombu makes them, on a RabbitMQ node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest

import amqp
from t.helpers.broker import Broker
from t.integration.support import PATIENCE, ready, until

pytestmark = pytest.mark.integration

Connect = Callable[..., amqp.Connection]

COUNT = 3_000


@pytest.fixture(params=[False, True], ids=['plain', 'confirmed'])
def producer(request: pytest.FixtureRequest, broker: Broker) -> Iterator[kombu.Producer]:
    """Kombu's, with a connection of its own."""
    with kombu.Connection(
        f'pyamqp://guest:guest@{broker.host}:{broker.port}//',
        connect_timeout=10,
        transport_options={'confirm_publish': request.param},
    ) as connection:
        yield connection.Producer()


def publish(producer: kombu.Producer, queue: str, count: int, **options: Any) -> None:
    for number in range(count):
        producer.publish({'number': number}, routing_key=queue, **options)


def test_a_batch_is_confirmed_at_its_end(channel: amqp.Channel, queue: str) -> None:
    with channel.batch(PATIENCE) as batch:
        for number in range(COUNT):
            batch.publish(amqp.Message(f'{number}', delivery_mode=2), routing_key=queue)
    assert ready(channel, queue) == COUNT


def test_a_batch_tells_which_failed(channel: amqp.Channel, queue: str) -> None:
    messages = [amqp.Message(f'{number}') for number in range(100)]
    with pytest.raises(amqp.ConfirmsFailed) as caught, channel.batch(PATIENCE) as batch:
        for number, message in enumerate(messages):
            key = 'nowhere' if number % 10 == 0 else queue
            batch.publish(message, routing_key=key, mandatory=True)
    assert [each.message for each in caught.value.failures] == messages[::10]
    assert ready(channel, queue) == 90


def arrived(channel: amqp.Channel, queue: str, count: int) -> None:
    """Check the number of messages, which the broker tells ahead of what it is handling."""
    until(lambda: ready(channel, queue) >= count)
    assert ready(channel, queue) == count


def test_a_batch_of_kombu(producer: kombu.Producer, queue: str) -> None:
    channel = producer.channel
    with producer.batch():
        publish(producer, queue, 100)
        assert ready(channel, queue) == 0
    arrived(channel, queue, 100)
    message = channel.message_to_python(channel.basic_get(queue, no_ack=True))
    assert message.payload == {'number': 0}


def test_a_batch_of_kombu_is_flushed(producer: kombu.Producer, queue: str) -> None:
    channel = producer.channel
    with producer.batch(max_size=10) as batch:
        publish(producer, queue, 25)
        arrived(channel, queue, 20)
        batch.flush()
        arrived(channel, queue, 25)
        with producer.batch():  # a part of the outer one
            publish(producer, queue, 3)
        arrived(channel, queue, 25)
    arrived(channel, queue, 28)


def test_a_batch_of_kombu_is_dropped_by_an_error(producer: kombu.Producer, queue: str) -> None:
    channel = producer.channel
    with pytest.raises(KeyError, match='mine'), producer.batch(max_size=10):
        publish(producer, queue, 12)
        raise KeyError('mine')
    arrived(channel, queue, 10)
    publish(producer, queue, 1)  # at once again
    arrived(channel, queue, 11)


def test_a_batch_of_kombu_that_fails(broker: Broker, queue: str) -> None:
    """An error that Kombu takes for one to connect anew upon, with what failed."""
    with kombu.Connection(
        f'pyamqp://guest:guest@{broker.host}:{broker.port}//',
        transport_options={'confirm_publish': True},
    ) as connection:
        producer = connection.Producer()
        with pytest.raises(connection.recoverable_connection_errors) as caught, producer.batch():
            publish(producer, queue, 3, mandatory=True)
            publish(producer, 'nowhere', 2, mandatory=True)
        assert isinstance(caught.value, amqp.ConfirmsFailed)
        assert [type(each) for each in caught.value.failures] == [amqp.NoRoute] * 2
        arrived(producer.channel, queue, 3)
