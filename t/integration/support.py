"""What the tests of a real node have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import amqp

#: Seconds after which what was to come has failed to.
PATIENCE = 20.0


def drain_until(
    connection: amqp.Connection, done: Callable[[], Any], timeout: float = PATIENCE
) -> None:
    """Handle what comes until *done*; ``socket.timeout`` if that takes too long."""
    deadline = time.monotonic() + timeout
    while not done():
        connection.drain_events(timeout=max(0, deadline - time.monotonic()))


def consume(channel: amqp.Channel, queue: str, **options: Any) -> list[amqp.Message]:
    """Start a consumer; the list that its messages are put into as the connection is drained."""
    messages: list[amqp.Message] = []
    channel.basic_consume(queue, callback=messages.append, **options)
    return messages


def receive(
    channel: amqp.Channel, queue: str, count: int = 1, **options: Any
) -> list[amqp.Message]:
    """The next messages of a queue, by a consumer that ends then; they stay unacknowledged."""
    messages: list[amqp.Message] = []
    tag = channel.basic_consume(queue, callback=messages.append, **options)
    drain_until(channel.connection, lambda: len(messages) >= count)
    channel.basic_cancel(tag)
    return messages


def publish(channel: amqp.Channel, queue: str, *bodies: Any, **properties: Any) -> None:
    """Publish to a queue, and return when the broker has the messages."""
    for body in bodies:
        channel.basic_publish_confirm(amqp.Message(body, **properties), routing_key=queue)


def bodies(messages: list[amqp.Message]) -> list[Any]:
    return [message.body for message in messages]


def ready(channel: amqp.Channel, queue: str) -> int:
    """The number of messages that a queue would deliver."""
    return channel.queue_declare(queue, passive=True).message_count


def until(reached: Callable[[], Any], timeout: float = PATIENCE) -> None:
    """Ask again and again, for what the broker tells nobody of."""
    deadline = time.monotonic() + timeout
    while not reached():
        assert time.monotonic() < deadline, 'it never came about'
        time.sleep(0.01)


@contextmanager
def takes(at_least: float, at_most: float) -> Iterator[None]:
    """Check the seconds that the block takes."""
    started = time.monotonic()
    yield
    elapsed = time.monotonic() - started
    assert at_least <= elapsed <= at_most, f'took {elapsed:.2f} s'
