"""kombu-pyamqp-threadsafe, which reaches deep into this library, over a RabbitMQ node."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from contextlib import contextmanager, suppress

import kombu
import kombu_pyamqp_threadsafe as threadsafe
import pytest

from .support import PATIENCE, until

pytestmark = pytest.mark.integration

RETRY = {'max_retries': 200, 'interval_start': 0.05, 'interval_step': 0.05, 'interval_max': 0.2}


@pytest.fixture(params=[False, True], ids=['lazy', 'dedicated drainer'])
def options(request):
    return {'dedicated_drainer': request.param}


@contextmanager
def shared_connection(broker, options, **arguments):
    connection = threadsafe.KombuConnection(
        f'pyamqp://guest:guest@{broker.host}:{broker.port}//',
        transport_options=options,
        connect_timeout=10,
        default_channel_pool_size=20,
        **arguments,
    )
    try:
        yield connection
    finally:
        connection.close()


@pytest.fixture
def connection(broker, options):
    with shared_connection(broker, options) as connection:
        yield connection


def temporary_queue():
    name = f'threadsafe-{uuid.uuid4().hex}'
    return kombu.Queue(name, routing_key=name, durable=False, expires=300)


def run_in_threads(functions):
    """Call each in a thread of its own; raise what any of them raised."""
    errors = []

    def run(function):
        try:
            function()
        except BaseException as exc:
            errors.append(exc)
            raise

    threads = [
        threading.Thread(target=run, args=(function,), daemon=True) for function in functions
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert not errors


def consume(connection, queue, count, received):
    """Take so many messages, in this thread, with a channel of its own."""

    def on_message(message):
        received.append(message.payload)
        message.ack()

    with connection.default_channel_pool.acquire() as channel:
        with kombu.Consumer(channel, [queue], on_message=on_message, prefetch_count=10):
            deadline = time.monotonic() + 2 * PATIENCE
            while len(received) < count and time.monotonic() < deadline:
                # Short, for without a drainer of its own the package keeps writers out meanwhile.
                with suppress(socket.timeout):
                    connection.drain_events(timeout=0.05)


def publish(connection, queue, numbers):
    for number in numbers:
        with connection.default_channel_pool.acquire() as channel:
            kombu.Producer(channel).publish(number, routing_key=queue.name)


class Revived:
    """What `ensure` wants to tell of a new channel: nothing here is bound to one."""

    def revive(self, channel):
        pass


def test_its_classes_are_ours(connection):
    import amqp

    connection.connect()
    assert isinstance(connection.connection, threadsafe.ThreadSafeConnection)
    assert isinstance(connection.connection, amqp.Connection)
    assert isinstance(connection.default_channel, threadsafe.ThreadSafeChannel)
    assert connection.connected


def test_threads_publish_while_others_consume(connection):
    queues = [temporary_queue() for _ in range(4)]
    received = [[] for _ in queues]
    count = 100
    for queue in queues:
        queue(connection.default_channel).declare()
    publishers = [lambda queue=queue: publish(connection, queue, range(count)) for queue in queues]
    consumers = [
        lambda queue=queue, sink=sink: consume(connection, queue, count, sink)
        for queue, sink in zip(queues, received, strict=True)
    ]
    run_in_threads(publishers + consumers)
    assert received == [list(range(count))] * len(queues)


def test_threads_declare_while_others_wait(connection):
    """A reply reaches the thread that asked, however many wait for theirs."""
    waiting = temporary_queue()
    received = []
    waiting(connection.default_channel).declare()

    def declare():
        for _ in range(25):
            queue = temporary_queue()
            with connection.default_channel_pool.acquire() as channel:
                bound = queue(channel)
                assert bound.queue_declare().queue == queue.name
                assert bound.queue_declare(passive=True).queue == queue.name
                assert bound.delete() == 0

    def declare_then_publish():
        declare()
        publish(connection, waiting, ['done'])

    run_in_threads(
        [declare, declare, declare_then_publish, lambda: consume(connection, waiting, 1, received)]
    )
    assert received == ['done']


def get(queue):
    """The next message, asked for again and again.

    Without a drainer of its own the package may wait on the socket for what another thread has
    read just before.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(queue.Empty):
            return queue.get(timeout=0.5)
    raise AssertionError('no message')


def test_simple_queues_of_several_threads(connection):
    def talk_to_oneself():
        name = f'threadsafe-{uuid.uuid4().hex}'
        options = {'durable': False, 'expires': 300}
        with connection.default_channel_pool.acquire() as channel:
            with connection.SimpleQueue(name, queue_opts=options, channel=channel) as queue:
                for number in range(10):
                    queue.put(number)
                for number in range(10):
                    message = get(queue)
                    message.ack()
                    assert message.payload == number
                with pytest.raises(queue.Empty):
                    queue.get(timeout=0.1)

    run_in_threads([talk_to_oneself] * 5)


def test_a_channel_error_is_its_own_thread_s(connection):
    import amqp

    def fail():
        for _ in range(5):
            with connection.default_channel_pool.acquire() as channel:
                with pytest.raises(amqp.NotFound):
                    kombu.Queue('threadsafe-missing', channel=channel).queue_declare(passive=True)

    def succeed():
        with connection.default_channel_pool.acquire() as channel:
            for _ in range(20):
                assert channel.queue_declare(exclusive=True, auto_delete=True)

    run_in_threads([fail, succeed, fail, succeed])
    assert connection.connected


def test_publishers_go_on_when_the_connection_is_lost(broker, options):
    """All threads share the loss, and the one connection that replaces what was lost."""
    queue = temporary_queue()
    with shared_connection(broker, {**options, 'confirm_publish': True}) as connection:
        queue(connection.default_channel).declare()
        first = connection.connection
        half_way = threading.Barrier(4)

        def lose_connection():
            first.sock.shutdown(socket.SHUT_RDWR)
            # A writer that met the loss before the drainer did would stop that, and those who
            # wait for it would be told that the connection was closed on purpose.
            until(lambda: first.marked_for_teardown or not options['dedicated_drainer'])

        def publish_with_retry():
            for number in range(40):
                if number == 20:
                    if half_way.wait(PATIENCE) == 0:
                        lose_connection()
                    half_way.wait(PATIENCE)
                # A channel of the thread's own, as the package's rules have it.
                connection.ensure(Revived(), publish_by_pool, **RETRY)(number)

        def publish_by_pool(number):
            publish(connection, queue, [number])

        run_in_threads([publish_with_retry] * 4)
        assert connection.connection is not first
        assert not first.connected

        def count():
            return queue(connection.default_channel).queue_declare(passive=True).message_count

        until(lambda: count() >= 160)


def test_heartbeats_are_kept_by_the_drainer(broker):
    with shared_connection(broker, {'dedicated_drainer': True}, heartbeat=1) as connection:
        connection.connect()
        first = connection.connection
        with pytest.raises(socket.timeout):
            # As long as that, nobody but the drainer uses the connection.
            connection.drain_events(timeout=4)
        assert connection.default_channel.queue_declare(exclusive=True)
        assert connection.connection is first
