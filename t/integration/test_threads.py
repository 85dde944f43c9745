"""Threads that share a connection.

The last of these tests are small here, and as large as you like elsewhere:

    AMQP_TEST_STRESS_SECONDS   of each mixture, 3 by default
    AMQP_TEST_STRESS_CALLS     declares beside ten times as many deliveries, 1,000 by default
    AMQP_TEST_STRESS_LOSSES    connections that are lost under threads that wait, 5 by default
    AMQP_TEST_STRESS_KILLS     nodes that are killed under them, 1 by default

With `pytest -s` they tell what they have seen.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import amqp
from t.helpers.broker import Broker
from t.helpers.green import patched_by
from t.helpers.relay import Relay
from t.helpers.threads import Background, until
from t.integration.mixture import Mixture
from t.integration.support import PATIENCE, consume, drain_until, publish, ready

pytestmark = pytest.mark.integration

Connect = Callable[..., amqp.Connection]

THREADS = 8
SECONDS = 5.0

#: The same for the tests that may be made larger.
MANY = 16
STRESS_SECONDS = float(os.environ.get('AMQP_TEST_STRESS_SECONDS', '3'))
CALLS = int(os.environ.get('AMQP_TEST_STRESS_CALLS', '1000'))
LOSSES = int(os.environ.get('AMQP_TEST_STRESS_LOSSES', '5'))
KILLS = int(os.environ.get('AMQP_TEST_STRESS_KILLS', '1'))

#: Seconds within which all have to learn of a loss.
NEWS = 2.0


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


# -- as large as you like


@pytest.fixture
def switches(request: pytest.FixtureRequest) -> Any:
    """How often threads change, in seconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(request.param)
    yield request.param
    sys.setswitchinterval(before)


def told_of(broker: Broker, name: str) -> list[str]:
    """The lines of the broker's log on a connection."""
    return [line for line in broker.log.splitlines() if name in line]


@pytest.mark.timeout(300 + 3 * STRESS_SECONDS)
@pytest.mark.parametrize('switches', [5e-3, 1e-6], indirect=True)
def test_a_mixture(connect: Connect, broker: Broker, switches: float) -> None:
    """Every body whole, each message once, each reply to its asker, no error, no wait too long."""
    connection = connect(heartbeat=10, rpc_timeout=PATIENCE)
    name = f'({connection.sock.getsockname()[0]}:{connection.sock.getsockname()[1]} -> '
    mixture = Mixture(connection, MANY)
    mixture.run(STRESS_SECONDS)
    print(f'\n{mixture.total("done")}\nslowest: {mixture.worst("slowest")}')  # noqa: T201
    assert mixture.total('received') == mixture.total('sent')
    assert [worker.damaged for worker in mixture.workers] == [[]] * MANY
    # A drain's own time is over after that of a callback, which may have to wait for others.
    assert max(mixture.worst('overrun').values()) < PATIENCE
    connection.close()
    # The log is written late: what earlier tests met with may come now.
    until(lambda: any('closing' in line for line in told_of(broker, name)))
    assert not [line for line in told_of(broker, name) if '[error]' in line]


@pytest.mark.timeout(300)
def test_passive_declares_beside_a_drain(connect: Connect, queue: str) -> None:
    """None is lost, and none runs in the wrong thread."""
    connection = connect()
    caller, consumer = connection.channel(), connection.channel()
    received: list[tuple[int, int]] = []
    consumer.basic_consume(
        queue,
        no_ack=True,
        callback=lambda message: received.append((int(message.body), threading.get_ident())),
    )

    def drain() -> int:
        drain_until(connection, lambda: len(received) == 10 * CALLS, 280)
        return threading.get_ident()

    drains = Background(drain)
    source = Background(publish_all, connect().channel(), queue, 10 * CALLS)
    for _ in range(CALLS):
        assert caller.queue_declare(queue, passive=True).queue == queue
    source.result(280)
    drainer = drains.result(280)
    assert received == [(number, drainer) for number in range(10 * CALLS)]


class Waiting:
    """Threads of every kind that wait on a connection whose broker has fallen silent."""

    def __init__(self, connection: amqp.Connection, queue: str) -> None:
        self.connection, self.queue = connection, queue
        self.channels = [connection.channel() for _ in range(MANY)]
        for channel in self.channels[2::4]:
            channel.confirm_select()
        self.moments: list[float] = []

    def begin(self) -> None:
        kinds = (self.drain, self.declare, self.confirm, self.open)
        self.threads = [
            Background(self.wait, kinds[number % 4], channel)
            for number, channel in enumerate(self.channels)
        ]
        # One of them reads, and the others wait for that.
        until(lambda: len(self.connection._reader._role._waiting) == MANY - 1)

    def wait(self, kind: Callable[[amqp.Channel], Any], channel: amqp.Channel) -> None:
        try:
            kind(channel)
        finally:
            self.moments.append(time.monotonic())

    def drain(self, channel: amqp.Channel) -> None:
        self.connection.drain_events()

    def declare(self, channel: amqp.Channel) -> None:
        channel.queue_declare(self.queue, passive=True)

    def confirm(self, channel: amqp.Channel) -> None:
        channel.basic_publish_confirm(amqp.Message('never confirmed'), routing_key=self.queue)

    def open(self, channel: amqp.Channel) -> None:
        self.connection.channel()

    def all_raise_since(self, began: float) -> float:
        """Each raises the right error in time; the seconds that the last took."""
        for thread in self.threads:
            assert isinstance(thread.error(), amqp.RecoverableConnectionError)
        took = max(self.moments) - began
        assert took < NEWS
        assert not self.connection.connected
        return took


def open_files() -> int:
    return len(os.listdir('/proc/self/fd'))


@pytest.mark.skipif(patched_by() is not None, reason='the relay has threads of the system')
@pytest.mark.timeout(120 + LOSSES)
def test_a_loss_under_threads_that_wait(broker: Broker, queue: str) -> None:
    """All learn of it at once; no thread and no descriptor is left."""
    with Relay(broker.port) as relay:
        threads, files, slowest = threading.active_count(), open_files(), 0.0
        for number in range(LOSSES):
            connection = amqp.Connection(f'127.0.0.1:{relay.port}', heartbeat=60)
            connection.connect()
            waiting = Waiting(connection, queue)
            relay.fall_silent()
            waiting.begin()
            began = time.monotonic()
            relay.kill(reset=number % 2 == 0)
            slowest = max(slowest, waiting.all_raise_since(began))
            assert threading.active_count() == threads
            until(lambda: open_files() == files)
    print(f'\n{LOSSES} losses, the slowest known to all after {slowest:.3f} s')  # noqa: T201


@pytest.mark.slow
@pytest.mark.timeout(120 + 30 * KILLS)
def test_a_killed_node_under_threads_that_wait(private_broker: Broker, name: str) -> None:
    node, slowest = private_broker, 0.0
    threads, files = threading.active_count(), None
    for number in range(KILLS):
        if number:
            node.start_again()
        connection = amqp.Connection(f'{node.host}:{node.port}', heartbeat=60)
        connection.connect()
        connection.channel().queue_declare(name, durable=True, auto_delete=False)
        waiting = Waiting(connection, name)
        node.suspend()
        waiting.begin()
        began = time.monotonic()
        node.kill()
        slowest = max(slowest, waiting.all_raise_since(began))
        assert threading.active_count() == threads
        files = files or open_files()
        until(lambda files=files: open_files() == files)
    node.start_again()
    print(f'\n{KILLS} kills, the slowest known to all after {slowest:.3f} s')  # noqa: T201
