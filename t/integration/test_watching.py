"""What a program is told of its connection, where a broker does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import amqp
from t.helpers.broker import Broker
from t.helpers.threads import Background
from t.integration.support import PATIENCE, drain_until, receive

pytestmark = pytest.mark.integration

Connect = Callable[..., amqp.Connection]

COUNT = 200


def listen(subject: Any, *names: str) -> list[Any]:
    """What happens to a connection or a channel."""
    happened: list[Any] = []
    for name in names:
        subject.events[name].add(lambda *what, name=name: happened.append((name, *what)))
    return happened


def test_a_consumer_is_cancelled(channel: amqp.Channel, connect: Connect, name: str) -> None:
    channel.queue_declare(name, auto_delete=False)
    happened = listen(channel, 'cancel', 'close')
    tag = channel.basic_consume(name, callback=print)
    connect().channel().queue_delete(name)
    drain_until(channel.connection, lambda: happened)
    assert happened == [('cancel', tag)]
    channel.close()
    assert happened[1:] == [('close', None)]


def test_a_channel_is_closed(channel: amqp.Channel, name: str) -> None:
    happened = listen(channel, 'close')
    with pytest.raises(amqp.NotFound) as caught:
        channel.queue_declare(name, passive=True)
    drain_until(channel.connection, lambda: happened)
    (told,) = happened
    assert str(told[1]) == str(caught.value)


def test_an_alarm_and_a_close(private_broker: Broker, connect: Connect) -> None:
    connection = connect(f'{private_broker.host}:{private_broker.port}')
    channel = connection.channel()
    happened = listen(connection, 'blocked', 'unblocked', 'close')
    channel_too = listen(channel, 'close')
    private_broker.memory_alarm(True)
    channel.basic_publish(amqp.Message('x'), 'amq.fanout')  # the broker tells only who publishes
    drain_until(connection, lambda: len(happened) == 1)
    assert connection.is_blocked
    private_broker.memory_alarm(False)
    drain_until(connection, lambda: len(happened) == 2)
    assert not connection.is_blocked
    assert happened == [('blocked', 'low on memory'), ('unblocked',)]
    waiting = Background(connection.drain_events, timeout=PATIENCE)
    private_broker.close_all_connections('maintenance')
    assert isinstance(waiting.error(), amqp.ConnectionForced)
    (_, error) = happened[2]
    assert isinstance(error, amqp.ConnectionForced)
    assert 'maintenance' in error.reply_text
    assert [type(error) for _, error in channel_too] == [amqp.ConnectionForced]
    connection.close()
    assert len(happened) == 3
    assert connection.is_closed


def test_what_is_counted(connection: amqp.Connection, queue: str) -> None:
    channel = connection.channel()
    before = connection.stats
    with channel.batch() as batch:
        for number in range(COUNT):
            batch.publish(amqp.Message(f'{number}'), routing_key=queue)
    received = receive(channel, queue, COUNT)
    after = connection.stats
    assert len(received) == COUNT
    assert after.messages_published - before.messages_published == COUNT
    assert after.messages_received - before.messages_received == COUNT
    assert after.frames_sent - before.frames_sent >= 3 * COUNT
    assert after.confirms_outstanding == 0
    assert after.channels == before.channels
    connection.close()
    assert connection.stats.messages_received == after.messages_received
    assert connection.stats.channels == 0
