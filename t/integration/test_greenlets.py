"""Greenlets that share a connection: they do what threads do, and may be ended at any wait.

For runs that t/helpers/green.py begins: `make integration-gevent`, `make integration-eventlet`.
"""

from __future__ import annotations

import fcntl
import os
import random
import struct
import termios
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import amqp
from t.helpers.broker import Broker
from t.helpers.green import patched_by

from .support import PATIENCE, bodies, consume, drain_until, publish, ready, until

pytestmark = pytest.mark.integration

if patched_by() == 'gevent':
    from gevent import Timeout, spawn
elif patched_by() == 'eventlet':
    from eventlet import spawn
    from eventlet.timeout import Timeout
else:
    pytest.skip('neither gevent nor eventlet has patched this process', allow_module_level=True)

Connect = Callable[..., amqp.Connection]

#: How often each greenlet of the mixture does its work.
ROUNDS = 50

#: And of the storm.
STORM_ROUNDS = 200


def result(greenlet: Any) -> Any:
    """What it returned, once it is over; raises what it raised."""
    with Timeout(PATIENCE):
        return greenlet.get() if hasattr(greenlet, 'get') else greenlet.wait()


@pytest.fixture(params=['plain', 'TLS'])
def address(request: pytest.FixtureRequest, broker: Broker) -> dict[str, Any]:
    if request.param == 'plain':
        return {'host': f'localhost:{broker.port}'}
    return {'host': f'localhost:{broker.tls_port}', 'ssl': {'ca_certs': broker.ca_file}}


# -- a mixture


class Mixture:
    """Work of every kind, each kind on a channel that its greenlets share."""

    def __init__(self, connection: amqp.Connection) -> None:
        self.channels = {kind: connection.channel() for kind in KINDS}
        server = connection.channel()
        self.server = server.queue_declare(exclusive=True).queue
        server.basic_qos(0, 10, False)
        server.basic_consume(self.server, callback=self.serve)
        self.replies: dict[str, Reply] = {}
        self.channels[Mixture.request].basic_consume(
            'amq.rabbitmq.reply-to', callback=self.on_reply, no_ack=True
        )
        self.queue = self.channels[Mixture.publish].queue_declare(exclusive=True).queue
        self.received = consume(self.channels[Mixture.publish], self.queue, no_ack=True)

    def serve(self, request: amqp.Message) -> None:
        """In the greenlet that drains."""
        reply = amqp.Message(request.body[::-1], correlation_id=request.correlation_id)
        request.channel.basic_publish(reply, routing_key=request.reply_to)
        request.channel.basic_ack(request.delivery_tag)

    def on_reply(self, message: amqp.Message) -> None:
        self.replies.pop(message.correlation_id).come(message.body)

    def work(self, kind: Callable[..., None], number: int) -> None:
        for round_ in range(ROUNDS):
            kind(self, self.channels[kind], f'{kind.__name__}-{number}-{round_}')

    def publish(self, channel: amqp.Channel, body: str) -> None:
        channel.basic_publish(amqp.Message(body), routing_key=self.queue)

    def confirm(self, channel: amqp.Channel, body: str) -> None:
        channel.basic_publish_confirm(amqp.Message(body), routing_key=self.queue)

    def request(self, channel: amqp.Channel, body: str) -> None:
        key = uuid.uuid4().hex
        reply = self.replies[key] = Reply()
        request = amqp.Message(body, correlation_id=key, reply_to='amq.rabbitmq.reply-to')
        channel.basic_publish(request, routing_key=self.server)
        assert reply.wait() == body[::-1]

    def declare(self, channel: amqp.Channel, name: str) -> None:
        name = f'{self.queue.removeprefix("amq.")}-{name}'
        assert channel.queue_declare(name, exclusive=True).queue == name
        assert channel.queue_delete(name) == 0


class Reply:
    def __init__(self) -> None:
        self._here = threading.Event()
        self._body: Any = None

    def come(self, body: Any) -> None:
        self._body = body
        self._here.set()

    def wait(self) -> Any:
        assert self._here.wait(PATIENCE), 'no reply'
        return self._body


KINDS = [Mixture.publish, Mixture.confirm, Mixture.request, Mixture.declare]


def test_a_mixture_on_one_connection(connect: Connect, address: dict[str, Any]) -> None:
    connection = connect(**address, heartbeat=2)
    mixture = Mixture(connection)
    numbers = range(5)
    sent = [
        f'{kind}-{number}-{round_}'
        for kind in ('publish', 'confirm')
        for number in numbers
        for round_ in range(ROUNDS)
    ]
    over = threading.Event()

    def drain() -> None:
        while len(mixture.received) < len(sent) or not over.is_set():
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.2)

    def tick() -> float:
        """The longest time for which all greenlets stood still."""
        longest, last = 0.0, time.monotonic()
        while not over.is_set():
            time.sleep(0.005)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        return longest

    drains, ticks = spawn(drain), spawn(tick)
    workers = [spawn(mixture.work, kind, number) for kind in KINDS for number in numbers]
    for worker in workers:
        result(worker)
    sent = [
        f'{kind}-{n}-{i}'
        for kind in ('publish', 'confirm')
        for n in range(5)
        for i in range(ROUNDS)
    ]
    over.set()
    result(drains)
    assert sorted(bodies(mixture.received)) == sorted(sent)
    assert result(ticks) < 2
    assert connection.connected


def test_a_hundred_connections(connect: Connect, address: dict[str, Any], queue: str) -> None:
    def work(number: int) -> Any:
        channel = connect(**address).channel()
        publish(channel, queue, str(number))
        return channel.basic_get(queue, no_ack=True).body

    greenlets = [spawn(work, number) for number in range(100)]
    assert sorted(int(result(greenlet)) for greenlet in greenlets) == list(range(100))


# -- ended while they wait


@contextmanager
def cut_short() -> Iterator[None]:
    with pytest.raises(Timeout), Timeout(0.05):
        yield


@pytest.fixture
def stoppable(module_broker: Broker) -> Iterator[Broker]:
    """A node to be suspended; it goes on in the end."""
    yield module_broker
    module_broker.resume()


def test_a_timeout_in_a_drain(connection: amqp.Connection, queue: str) -> None:
    channel = connection.channel()
    with cut_short():
        connection.drain_events()
    messages = consume(channel, queue, no_ack=True)
    with cut_short():
        connection.drain_events()
    publish(channel, queue, 'afterwards')
    drain_until(connection, lambda: messages)
    assert bodies(messages) == ['afterwards']


def test_timeouts_in_requests(connect: Connect, stoppable: Broker, name: str) -> None:
    """A reply that comes after its request's timeout is nobody's."""
    connection = connect(f'{stoppable.host}:{stoppable.port}')
    channel = connection.channel()
    for number in range(5):
        stoppable.suspend()
        with cut_short():
            channel.queue_declare(f'{name}-late-{number}', exclusive=True)
        stoppable.resume()
        assert channel.queue_declare(f'{name}-{number}', exclusive=True).queue == f'{name}-{number}'


def test_timeouts_in_confirms(connect: Connect, stoppable: Broker) -> None:
    connection = connect(f'{stoppable.host}:{stoppable.port}')
    channel = connection.channel()
    queue = channel.queue_declare(exclusive=True).queue
    publish(channel, queue, 'before')
    for number in range(5):
        stoppable.suspend()
        with cut_short():
            publish(channel, queue, f'late {number}')
        stoppable.resume()
        publish(channel, queue, f'{number}')
    assert ready(channel, queue) == 11


def test_a_timeout_in_a_handshake(connect: Connect, stoppable: Broker) -> None:
    stoppable.suspend()
    with cut_short():
        connect(f'{stoppable.host}:{stoppable.port}')
    stoppable.resume()
    assert connect(f'{stoppable.host}:{stoppable.port}').connected


def test_when_the_reader_is_killed_another_reads(
    connect: Connect, stoppable: Broker, name: str
) -> None:
    connection = connect(f'{stoppable.host}:{stoppable.port}')
    channels = [connection.channel() for _ in range(3)]
    reader = spawn(connection.drain_events)
    time.sleep(0)  # it reads
    stoppable.suspend()
    callers = [
        spawn(channel.queue_declare, f'{name}-{channel.channel_id}', exclusive=True)
        for channel in channels
    ]
    time.sleep(0)  # they have asked, and wait for the reader
    reader.kill()
    stoppable.resume()
    for channel, caller in zip(channels, callers, strict=True):
        assert result(caller).queue == f'{name}-{channel.channel_id}'


def test_a_writer_killed_in_half_a_message_ends_the_connection(
    connect: Connect, stoppable: Broker
) -> None:
    """Nothing may follow half a message."""
    connection = connect(f'{stoppable.host}:{stoppable.port}')
    channel, other = connection.channel(), connection.channel()
    stoppable.suspend()
    message = amqp.Message(bytes(64 << 20))
    writer = spawn(channel.basic_publish, message, routing_key='nowhere')
    until(lambda: unsent(connection) > 100_000)
    waiting = spawn(other.queue_declare, exclusive=True)
    time.sleep(0)
    writer.kill()
    for call in (lambda: result(waiting), lambda: other.queue_declare(exclusive=True)):
        with pytest.raises(amqp.RecoverableConnectionError):
            call()
    assert not connection.connected


def unsent(connection: amqp.Connection) -> int:
    """Octets that the kernel has, and the peer hasn't."""
    buffer = fcntl.ioctl(connection.sock.fileno(), termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack('i', buffer)[0])


# -- forks


@pytest.mark.skipif(patched_by() != 'gevent', reason="eventlet's hub is not made for forks")
@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_in_a_forked_child_nobody_reads_what_is_the_parents(
    connect: Connect, address: dict[str, Any], queue: str
) -> None:
    """Greenlets that wait are copied with the process; there their waits end."""
    connection = connect(**address)
    messages = consume(connection.channel(), queue, no_ack=True)
    reader = spawn(connection.drain_events)
    other = connection.channel()
    waiting = spawn(other.wait, (50, 11), timeout=PATIENCE)
    time.sleep(0)  # both wait
    pid = os.fork()
    if pid == 0:
        os._exit(0 if all(map(ends_by_the_fork, (reader, waiting))) else 1)
    publisher = connect().channel()
    ended = 0
    while not ended:  # the child's wait ends when something comes
        publish(publisher, queue, 'for the parent')
        ended, status = os.waitpid(pid, os.WNOHANG)
    assert os.waitstatus_to_exitcode(status) == 0
    result(reader)
    drain_until(connection, lambda: ready(publisher, queue) == 0)
    assert set(bodies(messages)) == {'for the parent'}
    waiting.kill()


def ends_by_the_fork(greenlet: Any) -> bool:
    try:
        result(greenlet)
    except amqp.RecoverableConnectionError as exc:
        return 'parent process' in str(exc)
    return False


# -- a storm


class Storm:
    """Greenlets that share channels, with every call of theirs cut short at a random moment."""

    def __init__(self, connection: amqp.Connection) -> None:
        self.connection = connection
        self.queue = connection.channel().queue_declare(exclusive=True).queue
        self.received = consume(connection.channel(), self.queue, no_ack=True)
        self.channels = [connection.channel() for _ in range(3)]
        self.random = random.Random(self.queue)
        self.confirmed: list[str] = []
        self.cut = self.strays = 0

    def work(self, number: int) -> None:
        for round_ in range(STORM_ROUNDS):
            kind = self.random.choice((self.declare, self.confirm, self.publish, self.drain))
            try:
                with self.cutting_short(), suppress(TimeoutError):
                    kind(self.random.choice(self.channels), f'{number}-{round_}')
            except amqp.RecoverableConnectionError:
                assert not self.connection.connected
                return

    @contextmanager
    def cutting_short(self) -> Iterator[None]:
        timeout = Timeout(self.random.random() * 0.004)
        try:
            with timeout:
                yield
        except Timeout as exc:
            self.cut += 1
            self.strays += exc is not timeout  # another greenlet's

    def declare(self, channel: amqp.Channel, label: str) -> None:
        name = f'{self.queue.removeprefix("amq.")}-{label}'
        assert channel.queue_declare(name, exclusive=True).queue == name

    def confirm(self, channel: amqp.Channel, label: str) -> None:
        channel.basic_publish_confirm(amqp.Message(label), routing_key=self.queue)
        self.confirmed.append(label)

    def publish(self, channel: amqp.Channel, label: str) -> None:
        channel.basic_publish(amqp.Message(bytes(300_000)), routing_key=self.queue)

    def drain(self, channel: amqp.Channel, label: str) -> None:
        self.connection.drain_events(timeout=0.05)


def test_a_storm_of_timeouts_leaves_it_whole_or_broken(connect: Connect) -> None:
    connection = connect(heartbeat=2)
    storm = Storm(connection)
    for greenlet in [spawn(storm.work, number) for number in range(10)]:
        result(greenlet)
    assert storm.cut > 0
    assert storm.strays == 0
    if connection.connected:
        publish(connection.channel(), storm.queue, 'last')
        drain_until(connection, lambda: bodies(storm.received)[-1] == 'last')
        assert set(storm.confirmed) <= set(bodies(storm.received))
    else:
        with pytest.raises(amqp.RecoverableConnectionError):
            connection.channel()
