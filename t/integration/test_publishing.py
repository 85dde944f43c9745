"""Publishing with many confirms at once, and while the broker blocks."""

from __future__ import annotations

from collections.abc import Callable

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
