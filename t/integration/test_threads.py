"""Threads that share a connection."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import amqp
from t.helpers.threads import Background
from t.integration.support import consume, drain_until, publish, ready

pytestmark = pytest.mark.integration

Connect = Callable[..., amqp.Connection]

THREADS = 8
SECONDS = 5.0


def sealed(randomness: random.Random) -> bytes:
    """A body that tells whether it is whole; some take several frames."""
    size = randomness.choice((0, 10, 1_000, 20_000, 200_000))
    body = randomness.randbytes(size)
    return hashlib.sha256(body).digest() + body


def is_whole(body: bytes) -> bool:
    return hashlib.sha256(body[32:]).digest() == body[:32]


class Worker:
    """One thread's work on a channel of its own, and on one that all share."""

    def __init__(self, connection: amqp.Connection, shared: amqp.Channel, number: int) -> None:
        self.channel = connection.channel()
        self.shared = shared
        self.random = random.Random(number)
        self.queue = self.channel.queue_declare(exclusive=True, auto_delete=False).queue
        self.received: list[bytes] = []
        self.sent: list[bytes] = []
        self.channel.basic_qos(0, 50, False)
        self.channel.basic_consume(self.queue, callback=self.on_message)

    def on_message(self, message: amqp.Message) -> None:
        """In the thread that drains."""
        self.received.append(bytes(message.body))
        message.channel.basic_ack(message.delivery_tag)

    def work(self, end: float) -> int:
        rounds = 0
        while time.monotonic() < end:
            self.random.choice((self.publish, self.share, self.confirm, self.declare))()
            rounds += 1
        return rounds

    def publish(self) -> None:
        self._publish(self.channel.basic_publish)

    def share(self) -> None:
        self._publish(self.shared.basic_publish)

    def confirm(self) -> None:
        self._publish(self.channel.basic_publish_confirm)

    def _publish(self, method: Callable[..., Any]) -> None:
        body = sealed(self.random)
        self.sent.append(body)
        method(amqp.Message(body), routing_key=self.queue)

    def declare(self) -> None:
        assert self.channel.queue_declare(self.queue, passive=True).queue == self.queue
        made_up = self.channel.queue_declare(exclusive=True).queue
        assert made_up.startswith('amq.gen-')
        assert self.channel.queue_delete(made_up) == 0


def test_all_at_once(connect: Connect) -> None:
    """Eight threads publish, confirm and declare beside one that drains: every body is whole."""
    connection = connect(heartbeat=2)
    shared = connection.channel()
    workers = [Worker(connection, shared, number) for number in range(THREADS)]
    end = time.monotonic() + SECONDS
    threads = [Background(worker.work, end) for worker in workers]
    done = threading.Event()

    def all_received() -> bool:
        return done.is_set() and all(len(worker.received) == len(worker.sent) for worker in workers)

    drain = Background(drain_in_turns, connection, all_received, end + 10)
    rounds = [thread.result() for thread in threads]
    done.set()
    drain.result()
    assert min(rounds) > 10
    for worker in workers:
        assert all(map(is_whole, worker.received))
        assert sorted(worker.received) == sorted(worker.sent)
    assert connection.connected


def drain_in_turns(connection: amqp.Connection, done: Callable[[], bool], deadline: float) -> None:
    while not done():
        assert time.monotonic() < deadline, 'not all that was sent came'
        try:
            connection.drain_events(timeout=0.2)
        except TimeoutError:
            continue


def test_calls_beside_a_drain(connect: Connect, queue: str) -> None:
    """The reader hands each reply to the thread that waits for it."""
    connection = connect()
    messages = consume(connection.channel(), queue, no_ack=True)
    drain = Background(drain_until, connection, lambda: len(messages) == 5_000)
    publisher = connect().channel()
    source = Background(publish_all, publisher, queue, 5_000)
    caller = connection.channel()
    for number in range(1_000):
        declared = caller.queue_declare(f'{queue}-{number % 10}', exclusive=True)
        assert declared == (f'{queue}-{number % 10}', 0, 0)
    source.result()
    drain.result()
    assert [int(message.body) for message in messages] == list(range(5_000))


def publish_all(channel: amqp.Channel, queue: str, count: int) -> None:
    for number in range(count):
        channel.basic_publish(amqp.Message(str(number)), routing_key=queue)


def test_the_error_of_one_is_no_error_of_others(connect: Connect, name: str, queue: str) -> None:
    connection = connect()
    messages = consume(connection.channel(), queue, no_ack=True)
    drain = Background(drain_until, connection, lambda: len(messages) == 200)

    def stumble() -> int:
        channel = connection.channel()
        stumbled = 0
        for number in range(100):
            try:
                channel.queue_declare(f'{name}-{number}-missing', passive=True)
            except amqp.NotFound as exc:
                stumbled += f'{name}-{number}-missing' in str(exc)
        return stumbled

    def walk() -> int:
        channel = connection.channel()
        for number in range(100):
            publish(channel, queue, str(number))
            assert ready(channel, queue) >= 0
        return 100

    threads = [Background(function) for function in (stumble, walk, stumble, walk)]
    assert [thread.result() for thread in threads] == [100] * 4
    drain.result()
