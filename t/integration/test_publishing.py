"""Publishing with many confirms at once, and while the broker blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import amqp
from t.helpers.broker import Broker
from t.helpers.threads import Background
from t.integration.support import PATIENCE, drain_until, ready

pytestmark = pytest.mark.integration

Connect = Callable[..., amqp.Connection]

COUNT = 2_000


@pytest.fixture
def full(channel: amqp.Channel) -> str:
    """A queue that takes two messages and refuses more."""
    arguments = {'x-max-length': 2, 'x-overflow': 'reject-publish'}
    queue: str = channel.queue_declare(exclusive=True, arguments=arguments).queue
    return queue


@pytest.mark.parametrize('window', [None, 1, 50])
def test_all_are_confirmed(channel: amqp.Channel, queue: str, window: int | None) -> None:
    channel.confirm_select(window=window)
    for number in range(COUNT):
        channel.basic_publish(amqp.Message(f'{number}'), routing_key=queue)
    channel.wait_for_confirms(PATIENCE)
    assert ready(channel, queue) == COUNT


def test_failures_are_told_one_by_one(channel: amqp.Channel, full: str, name: str) -> None:
    channel.confirm_select(window=100)
    messages = [amqp.Message(f'{number}') for number in range(6)]
    for message in messages[:4]:
        channel.basic_publish(message, routing_key=full)
    channel.basic_publish(messages[4], routing_key=name, mandatory=True)
    channel.basic_publish(messages[5], routing_key=name)  # nowhere, and nobody minds
    with pytest.raises(amqp.ConfirmsFailed) as caught:
        channel.wait_for_confirms(PATIENCE)
    failures = sorted(caught.value.failures, key=lambda each: each.delivery_tag)
    assert [(type(each), each.delivery_tag) for each in failures] == [
        (amqp.MessageNacked, 3),
        (amqp.MessageNacked, 4),
        (amqp.NoRoute, 5),
    ]
    assert [each.message for each in failures] == messages[2:5]
    assert channel.wait_for_confirms(PATIENCE) is None


def test_threads_share_a_window(channel: amqp.Channel, queue: str) -> None:
    channel.confirm_select(window=20)

    def publish() -> None:
        for _ in range(COUNT // 4):
            channel.basic_publish(amqp.Message('x'), routing_key=queue)
        channel.wait_for_confirms(PATIENCE)

    for publisher in [Background(publish) for _ in range(4)]:
        publisher.result()
    assert ready(channel, queue) == COUNT


def test_an_exchange_that_is_not_there_ends_the_wait(channel: amqp.Channel, name: str) -> None:
    channel.confirm_select()
    channel.basic_publish(amqp.Message('x'), name)
    with pytest.raises(amqp.NotFound, match=name):
        channel.wait_for_confirms(PATIENCE)


def test_a_memory_alarm(private_broker: Broker, connect: Connect) -> None:
    connection = connect(f'{private_broker.host}:{private_broker.port}', blocked_timeout=0.3)
    channel = connection.channel()
    blocked: list[str] = []
    connection.on_blocked = blocked.append
    private_broker.memory_alarm(True)
    channel.basic_publish(amqp.Message('1'), 'amq.fanout')  # the broker tells only who publishes
    drain_until(connection, lambda: blocked)
    with pytest.raises(amqp.Blocked, match=r'low on memory.*0\.3 s') as caught:
        channel.basic_publish(amqp.Message('2'), 'amq.fanout')
    assert caught.value.reason == 'low on memory'
    private_broker.memory_alarm(False)
    channel.basic_publish_confirm(amqp.Message('3'), 'amq.fanout')


# -- without waiting


def test_promises_are_settled_by_their_own_confirms(
    channel: amqp.Channel, queue: str, full: str
) -> None:
    """What the queues have in the end tells whose confirm was which."""
    taken: list[amqp.Message] = []
    failed: list[Any] = []
    lost: list[amqp.Message] = []
    channel.confirm_select(window=200)
    for number in range(COUNT):
        message = amqp.Message(f'{number}')
        key = {3: full, 7: 'nowhere'}.get(number % 10, queue)
        if key == 'nowhere':
            lost.append(message)
        channel.publish_async(message, routing_key=key, mandatory=True).then(
            taken.append, failed.append
        )
    channel.wait_for_confirms(PATIENCE)
    unroutable = [error.message for error in failed if isinstance(error, amqp.NoRoute)]
    assert unroutable == lost  # in their order
    refused = {error.message.body for error in failed if isinstance(error, amqp.MessageNacked)}
    assert len(taken) + len(unroutable) + len(refused) == COUNT
    kept = {*contents(channel, queue), *contents(channel, full)}
    assert {message.body for message in taken} == kept
    assert refused
    assert not refused & kept


def contents(channel: amqp.Channel, queue: str) -> Iterator[str]:
    """The bodies in a queue, which is empty then."""
    while (message := channel.basic_get(queue, no_ack=True)) is not None:
        yield message.body


def test_promises_of_many_threads(connect: Connect, queue: str) -> None:
    connection = connect()
    channel = connection.channel()
    channel.confirm_select(window=50)
    taken: list[str] = []

    def publish(thread: int) -> None:
        for number in range(COUNT // 4):
            message = amqp.Message(f'{thread}-{number}')
            channel.publish_async(message, routing_key=queue).then(
                lambda message: taken.append(message.body)
            )
        # A promise that is settled already calls back here, which ends no drain.
        connection.call_soon_threadsafe(lambda: None)

    publishers = [Background(publish, thread) for thread in range(4)]
    drain_until(connection, lambda: len(taken) == COUNT)
    for publisher in publishers:
        publisher.result()
    assert len(set(taken)) == COUNT
    assert ready(channel, queue) == COUNT


def test_promises_when_the_broker_dies(private_broker: Broker, connect: Connect) -> None:
    connection = connect(f'{private_broker.host}:{private_broker.port}')
    channel = connection.channel()
    failed: list[BaseException] = []
    taken: list[amqp.Message] = []
    for _ in range(10):
        channel.publish_async(amqp.Message('x'), 'amq.fanout').then(taken.append, failed.append)
    channel.wait_for_confirms(PATIENCE)
    assert len(taken) == 10
    private_broker.suspend()
    for _ in range(10):
        channel.publish_async(amqp.Message('x'), 'amq.fanout').then(taken.append, failed.append)
    private_broker.kill()
    with pytest.raises(amqp.RecoverableConnectionError):
        drain_until(connection, lambda: False)
    assert len(failed) == 10
    assert all(isinstance(each, amqp.RecoverableConnectionError) for each in failed)
