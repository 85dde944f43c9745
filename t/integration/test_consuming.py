"""Loops over messages against a real node: whatever ends them, the broker counts what is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import amqp
from t.helpers.broker import Broker
from t.helpers.green import patched_by
from t.helpers.threads import Background, until

from .support import PATIENCE, publish

pytestmark = pytest.mark.integration


def ready(channel: amqp.Channel, queue: str) -> int:
    """The messages that the broker has ready: neither delivered nor gone."""
    declared = channel.queue_declare(queue, passive=True)
    assert declared is not None
    return declared.message_count


@pytest.fixture
def filled(channel: amqp.Channel, queue: str) -> str:
    """A queue with ten messages."""
    publish(channel, queue, *(str(number) for number in range(10)))
    return queue


@pytest.fixture
def admin(connect: Callable[..., amqp.Connection]) -> amqp.Channel:
    """A channel of another connection."""
    opened: amqp.Channel = connect().channel()
    return opened


def test_a_loop_takes_all_in_order(channel: amqp.Channel, filled: str) -> None:
    bodies = []
    for message in channel.consume(filled, inactivity_timeout=PATIENCE):
        assert message is not None
        with message.process():
            bodies.append(message.body)
        if len(bodies) == 10:
            break
    assert bodies == [str(number) for number in range(10)]
    assert channel.consumer_tags == []
    assert ready(channel, filled) == 0


class UserError(Exception):
    pass


@pytest.mark.parametrize('prefetch', [None, 1, 3])
@pytest.mark.parametrize('way', ['break', 'exception', 'cancel', 'with'])
def test_what_is_unprocessed_is_back_when_a_loop_is_left(
    channel: amqp.Channel, admin: amqp.Channel, filled: str, way: str, prefetch: int | None
) -> None:
    handled: list[Any] = []

    def handle(message: amqp.Message | None) -> None:
        assert message is not None
        if len(handled) == 4:
            raise UserError
        handled.append(message.body)
        assert message.delivery_tag is not None
        channel.basic_ack(message.delivery_tag)

    if way == 'exception':
        with pytest.raises(UserError):
            for message in channel.consume(filled, prefetch=prefetch):
                handle(message)
    elif way == 'break':
        for message in channel.consume(filled, prefetch=prefetch):
            if len(handled) == 4:
                break
            handle(message)
    elif way == 'with':
        with pytest.raises(UserError), channel.consume(filled, prefetch=prefetch) as stream:
            for message in stream:
                handle(message)
    else:
        stream = channel.consume(filled, prefetch=prefetch)
        for message in stream:
            handle(message)
            if len(handled) == 4:
                stream.cancel()
    until(lambda: ready(channel, filled) == 6)  # the broker counts ahead of what it is told
    assert handled == ['0', '1', '2', '3']
    # In their places, and nothing is left with us.
    channel.close()
    until(lambda: ready(admin, filled) == 6)
    left = [admin.basic_get(filled, no_ack=True) for _ in range(6)]
    assert [message and message.body for message in left] == ['4', '5', '6', '7', '8', '9']


def test_acknowledgements_of_many_at_a_time_count(channel: amqp.Channel, filled: str) -> None:
    for message in channel.consume(filled):
        assert message is not None
        assert message.delivery_tag is not None
        if message.body == '6':
            channel.basic_ack(message.delivery_tag, multiple=True)
        if message.body == '8':
            break
    until(lambda: ready(channel, filled) == 3)
    assert channel.is_open


def test_nested_loops(
    connection: amqp.Connection, channel: amqp.Channel, filled: str, name: str
) -> None:
    """What one loop has brought in goes to another queue, whose loop is within it."""
    replies = connection.channel()
    replies.queue_declare(f'{name}-replies', exclusive=True, auto_delete=False)
    seen = []
    for outer in channel.consume(filled, prefetch=5):
        assert outer is not None
        with outer.process():
            channel.basic_publish(amqp.Message(outer.body), routing_key=f'{name}-replies')
            for inner in replies.consume(f'{name}-replies', inactivity_timeout=PATIENCE):
                assert inner is not None
                with inner.process():
                    seen.append(inner.body)
                break
        if len(seen) == 10:
            break
    assert seen == [str(number) for number in range(10)]
    assert ready(channel, filled) == 0
    assert ready(replies, f'{name}-replies') == 0


def test_a_loop_in_each_of_several_threads(
    connection: amqp.Connection, channel: amqp.Channel, queue: str
) -> None:
    """On one connection, each with its own channel; every message is handled once."""
    count = 400
    handled: list[Any] = []
    over = threading.Event()

    def work() -> None:
        own = connection.channel()
        for message in own.consume(queue, prefetch=10, inactivity_timeout=0.05):
            if message is None:
                if over.is_set():
                    break
                continue
            with message.process():
                handled.append(message.body)

    workers = [Background(work) for _ in range(4)]
    publish(channel, queue, *(str(number) for number in range(count)))
    until(lambda: len(handled) >= count)
    over.set()
    for worker in workers:
        worker.result()
    assert sorted(handled, key=int) == [str(number) for number in range(count)]
    assert ready(channel, queue) == 0


def test_the_queue_is_deleted_under_a_loop(
    channel: amqp.Channel, admin: amqp.Channel, filled: str
) -> None:
    seen = []
    for message in channel.consume(filled):
        assert message is not None
        seen.append(message.body)
        if len(seen) == 10:
            admin.queue_delete(filled)
    assert len(seen) == 10
    assert channel.is_open


def test_the_connection_is_closed_under_a_loop(
    connection: amqp.Connection, broker: Broker, admin: amqp.Channel, filled: str
) -> None:
    channel = connection.channel()
    handled = []
    with pytest.raises(amqp.RecoverableConnectionError):
        for message in channel.consume(filled, prefetch=5):
            assert message is not None
            handled.append(message.body)
            if len(handled) == 3:
                connection.transport.sock.shutdown(2)
    until(lambda: ready(admin, filled) == 10)
    assert broker.pid


def test_start_consuming_until_a_message_says_so(channel: amqp.Channel, filled: str) -> None:
    handled = []

    def handle(message: amqp.Message) -> None:
        with message.process():
            handled.append(message.body)
        if len(handled) == 10:
            channel.stop_consuming()

    channel.basic_consume(filled, callback=handle)
    channel.start_consuming()
    assert handled == [str(number) for number in range(10)]
    assert ready(channel, filled) == 0


def test_a_failing_message_is_dead_lettered(
    channel: amqp.Channel, name: str, connection: amqp.Connection
) -> None:
    channel.queue_declare(f'{name}-dead', exclusive=True, auto_delete=False)
    arguments = {'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': f'{name}-dead'}
    channel.queue_declare(name, exclusive=True, auto_delete=False, arguments=arguments)
    publish(channel, name, 'bad')
    with pytest.raises(UserError):
        for message in channel.consume(name):
            assert message is not None
            with message.process():
                raise UserError
    until(lambda: ready(channel, f'{name}-dead') == 1)
    assert ready(channel, name) == 0


@pytest.mark.skipif(patched_by() is not None, reason='the work is done in other processes')
@pytest.mark.slow
def test_a_program_that_is_killed_at_any_moment_loses_nothing(
    channel: amqp.Channel, broker: Broker, queue: str
) -> None:
    """Each message is handled at least once; the broker has all that was not acknowledged."""
    count, seed = 3_000, random.randrange(2**32)
    chance = random.Random(seed)
    with channel.connection.batch():
        for number in range(count):
            channel.basic_publish(amqp.Message(str(number)), routing_key=queue)
    until(lambda: ready(channel, queue) == count)
    script = str(Path(__file__).with_name('loop_worker.py'))
    command = [sys.executable, script, f'{broker.host}:{broker.port}', queue]
    environment = {**os.environ, 'PYTHONPATH': str(Path(amqp.__file__).parents[1])}
    handled: list[int] = []
    kills = 0
    while True:
        # Where in its work it is when the signal comes is chance beside.
        lines = chance.randrange(1, count // 6)
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    handled.append(int(line))
                    lines -= 1
                    if not lines:
                        process.kill()
            finally:
                process.kill()
        assert process.returncode in (0, -signal.SIGKILL)
        kills += process.returncode != 0
        if process.returncode == 0:
            break
    sys.stdout.write(f'{kills} kills, {len(handled) - count} of {count} handled again\n')
    assert kills >= 4, seed
    assert set(handled) == set(range(count)), seed
    assert ready(channel, queue) == 0
