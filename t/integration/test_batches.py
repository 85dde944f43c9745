"""Batches, by the broker's own count of what it got."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest

import amqp
from t.helpers.broker import Broker
from t.helpers.threads import Background
from t.integration.support import drain_until

pytestmark = pytest.mark.integration

Connect = Callable[..., amqp.Connection]

COUNT = 3000


def unacknowledged(broker: Broker, queue: str) -> int:
    """How many messages of the queue the broker keeps, delivered or not."""
    return broker.list_queues()[queue]


@pytest.mark.parametrize('tls', [False, True])
def test_all_is_published_and_all_acknowledged(
    broker: Broker, connect: Connect, queue: str, tls: bool
) -> None:
    options: dict[str, Any] = {}
    if tls:
        context = ssl.create_default_context(cafile=str(broker.ca_file))
        options = {'host': f'localhost:{broker.tls_port}', 'ssl': context}
    connection = connect(**options)
    channel = connection.channel()
    with connection.batch():
        for number in range(COUNT):
            body = f'{number}'.ljust(80_000 if number % 500 == 0 else 20)
            channel.basic_publish(amqp.Message(body), routing_key=queue)
    got: list[int] = []

    def on_message(message: amqp.Message) -> None:
        got.append(int(message.body))
        channel.basic_ack(message.delivery_tag)

    # So few that the broker stops unless acks go out before each wait.
    channel.basic_qos(0, 50, False)
    channel.basic_consume(queue, callback=on_message)
    with connection.batch():
        drain_until(connection, lambda: len(got) == COUNT)
    assert got == list(range(COUNT))
    # A reply on the same channel: what was sent before it has been acted upon.
    channel.basic_qos(0, 1, False)
    assert unacknowledged(broker, queue) == 0


def test_confirms_within_a_batch(connect: Connect, queue: str) -> None:
    connection = connect()
    channel = connection.channel()
    channel.confirm_select()
    confirmed: set[int] = set()

    def on_ack(delivery_tag: int, multiple: bool) -> None:
        confirmed.update(range(1, delivery_tag + 1) if multiple else [delivery_tag])

    channel.events['basic_ack'].add(on_ack)
    with connection.batch():
        for number in range(COUNT):
            channel.basic_publish(amqp.Message(f'{number}'), routing_key=queue)
        channel.basic_publish_confirm(amqp.Message('last'), routing_key=queue)
    drain_until(connection, lambda: len(confirmed) == COUNT + 1)


def test_one_thread_publishes_in_batches_where_another_consumes(
    connect: Connect, queue: str
) -> None:
    connection = connect()
    publishing, consuming = connection.channel(), connection.channel()
    got: list[int] = []

    def on_message(message: amqp.Message) -> None:
        got.append(int(message.body))
        consuming.basic_ack(message.delivery_tag)

    def publish() -> None:
        for start in range(0, COUNT, 100):
            with connection.batch():
                for number in range(start, start + 100):
                    publishing.basic_publish(amqp.Message(f'{number}'), routing_key=queue)

    consuming.basic_consume(queue, callback=on_message)
    publisher = Background(publish)
    drain_until(connection, lambda: len(got) == COUNT)
    publisher.result()
    assert got == list(range(COUNT))
