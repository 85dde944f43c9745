"""Kombu, as it is on the package index, over this library and a RabbitMQ node."""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
import uuid
from contextlib import contextmanager, suppress

import kombu
import pytest
from kombu.asynchronous import Hub
from kombu.mixins import ConsumerMixin
from kombu.pidbox import Mailbox
from kombu.pools import connections as connection_pools
from kombu.pools import producers as producer_pools
from kombu.pools import reset as reset_pools

import amqp

from .outage import Outage

pytestmark = pytest.mark.integration

#: Seconds after which anything that was to happen has failed to.
PATIENCE = 20
#: Fast enough for a node that comes back within seconds.
# A restart may take its time on a busy machine: two minutes.
RETRY = {'max_retries': 600, 'interval_start': 0.05, 'interval_step': 0.05, 'interval_max': 0.2}


def connection_to(broker, **options):
    options.setdefault('connect_timeout', 10)
    return kombu.Connection(f'pyamqp://guest:guest@{broker.host}:{broker.port}//', **options)


def tls_connection_to(broker, **options):
    settings = {'ca_certs': broker.ca_file, 'cert_reqs': ssl.CERT_REQUIRED, 'server_hostname': None}
    return kombu.Connection(
        f'amqps://guest:guest@{broker.host}:{broker.tls_port}//',
        ssl=settings,
        connect_timeout=10,
        **options,
    )


def temporary_queue(**options):
    name = f'kombu-{uuid.uuid4().hex}'
    options = {'durable': False, 'expires': 300, **options}
    return kombu.Queue(name, routing_key=name, **options)


def drain_until(connection, done, timeout=PATIENCE):
    deadline = time.monotonic() + timeout
    while not done():
        connection.drain_events(timeout=max(0, deadline - time.monotonic()))


def wait_for(condition, timeout=PATIENCE):
    """The first true value of *condition*, asked again and again."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, 'it did not come to pass'
        pause.wait(0.01)
    return value


@contextmanager
def consuming(channel, queue, callback, **options):
    consumer = kombu.Consumer(channel, [queue], on_message=callback, **options)
    with consumer:
        yield consumer


@pytest.fixture
def connection(broker):
    with connection_to(broker) as connection:
        yield connection


@pytest.fixture(params=[connection_to, tls_connection_to], ids=['plain', 'tls'])
def either_connection(request, broker):
    with request.param(broker) as connection:
        yield connection


@pytest.fixture
def pools():
    yield
    reset_pools()


def test_this_library_is_what_kombu_uses(connection):
    connection.connect()
    assert isinstance(connection.connection, amqp.Connection)
    assert connection.transport.driver_version() == amqp.__version__
    assert connection.connection.client is connection
    assert connection.connected


# -- producers and consumers


def test_a_message_comes_back_as_it_was(either_connection):
    queue = temporary_queue()
    received = []
    channel = either_connection.default_channel
    with consuming(channel, queue(channel), received.append):
        producer = either_connection.Producer()
        producer.publish(
            {'größe': [1, 2.5, None, 'x']},
            routing_key=queue.name,
            priority=3,
            compression='zlib',
            headers={'retries': 2, 'nested': {'deep': [True, None]}},
            correlation_id='c-1',
            expiration=60,
        )
        drain_until(either_connection, lambda: received)
        (message,) = received
        message.ack()
    assert message.payload == {'größe': [1, 2.5, None, 'x']}
    assert message.headers['retries'] == 2
    assert message.headers['nested'] == {'deep': [True, None]}
    assert message.properties['priority'] == 3
    assert message.properties['correlation_id'] == 'c-1'
    assert message.properties['delivery_mode'] == 2
    assert message.delivery_info['routing_key'] == queue.name
    assert message.delivery_info['redelivered'] is False


def test_bodies_of_all_sizes(either_connection):
    queue = temporary_queue()
    sizes = [0, 1, 4096, 131_063, 131_064, 131_065, 131_072, 1_000_000]
    bodies = []
    channel = either_connection.default_channel
    with consuming(channel, queue(channel), lambda m: bodies.append(m.body), no_ack=True):
        producer = either_connection.Producer()
        for size in sizes:
            producer.publish(
                os.urandom(1) * size,
                routing_key=queue.name,
                content_type='application/data',
                content_encoding='binary',
            )
        drain_until(either_connection, lambda: len(bodies) == len(sizes))
    assert [len(body) for body in bodies] == sizes
    assert all(len(set(body)) <= 1 for body in bodies)


def test_messages_are_rejected_and_requeued(connection):
    queue = temporary_queue()
    seen = []

    def on_message(message):
        seen.append(message.delivery_info['redelivered'])
        if len(seen) == 1:
            message.requeue()
        elif len(seen) == 2:
            message.ack()
        else:
            message.reject()

    channel = connection.default_channel
    with consuming(channel, queue(channel), on_message, prefetch_count=1):
        producer = connection.Producer()
        producer.publish('a', routing_key=queue.name)
        producer.publish('b', routing_key=queue.name)
        drain_until(connection, lambda: len(seen) == 3)
    assert seen == [False, True, False]
    wait_for(lambda: queue(channel).queue_declare(passive=True).message_count == 0)


def test_queues_and_exchanges(connection):
    channel = connection.channel()
    suffix = uuid.uuid4().hex
    source = kombu.Exchange(f'kombu-source-{suffix}', 'topic', durable=False)(channel)
    sink = kombu.Exchange(f'kombu-sink-{suffix}', 'fanout', durable=False)(channel)
    queue = temporary_queue(exchange=sink, max_length=10, message_ttl=60)(channel)
    source.declare()
    queue.declare()
    sink.bind_to(source, routing_key='news.#')

    kombu.Producer(channel, source).publish('x', routing_key='news.today')
    kombu.Producer(channel, source).publish('y', routing_key='weather')
    assert wait_for(lambda: queue.get(no_ack=True)).payload == 'x'
    assert queue.get() is None

    sink.unbind_from(source, routing_key='news.#')
    queue.unbind_from(sink)
    for _ in range(3):
        kombu.Producer(channel).publish('z', routing_key=queue.name)
    wait_for(lambda: queue.queue_declare(passive=True) == (queue.name, 3, 0))
    assert queue.purge() == 3
    assert queue.delete() == 0
    source.delete()
    sink.delete()
    with pytest.raises(amqp.NotFound):
        source.declare(passive=True)


def test_a_consumer_hears_that_its_queue_is_gone(connection):
    queue = temporary_queue()
    channel = connection.channel()
    other = connection.channel()
    bound = queue(channel)
    bound.declare()
    cancelled = []
    kombu.Consumer(channel, [bound], on_message=id)  # declares
    bound.consume(consumer_tag='mine', callback=id, on_cancel=cancelled.append)
    queue(other).delete()
    drain_until(connection, lambda: cancelled)
    assert cancelled == ['mine']

    # Without on_cancel it is an error upon which Kombu starts anew.
    bound.declare()
    bound.consume(consumer_tag='mine', callback=id)
    queue(other).delete()
    with pytest.raises(amqp.ConsumerCancelled) as caught:
        drain_until(connection, lambda: False)
    assert isinstance(caught.value, connection.recoverable_connection_errors)
    assert connection.connected


def test_simple_queue(connection):
    name = f'simple-{uuid.uuid4().hex}'
    with connection.SimpleQueue(name, queue_opts={'durable': False, 'expires': 300}) as queue:
        for number in range(3):
            queue.put({'number': number})
        messages = [queue.get(timeout=PATIENCE) for _ in range(3)]
        for message in messages:
            message.ack()
        assert [message.payload['number'] for message in messages] == [0, 1, 2]
        started = time.monotonic()
        with pytest.raises(queue.Empty):
            queue.get(timeout=0.3)
        assert 0.25 < time.monotonic() - started < 2
        with pytest.raises(queue.Empty):
            queue.get_nowait()
        queue.put('again')
        assert queue.get(block=True, timeout=PATIENCE).payload == 'again'
        assert len(queue) == 0
        queue.clear()


def test_drain_events_is_a_poll(connection):
    connection.connect()
    started = time.monotonic()
    for _ in range(100):
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=0)
    assert time.monotonic() - started < 1
    started = time.monotonic()
    with pytest.raises(socket.timeout):
        connection.drain_events(timeout=0.4)
    assert 0.35 < time.monotonic() - started < 1.5


# -- what the broker says no to


def test_a_returned_message_reaches_on_return(connection):
    returned = []
    producer = connection.Producer(on_return=lambda *args: returned.append(args))
    producer.publish('lost', routing_key='kombu-nowhere', mandatory=True)
    drain_until(connection, lambda: returned)
    ((error, exchange, routing_key, message),) = returned
    assert isinstance(error, amqp.NoRoute)
    assert (exchange, routing_key, message.body) == ('', 'kombu-nowhere', 'lost')


def test_a_returned_message_is_an_error_without_on_return(connection):
    producer = connection.Producer()
    producer.publish('lost', routing_key='kombu-nowhere', mandatory=True)
    with pytest.raises(connection.channel_errors):
        drain_until(connection, lambda: False)
    producer.publish('unheard', routing_key='kombu-nowhere')


def test_confirm_publish(broker):
    with connection_to(broker, transport_options={'confirm_publish': True}) as connection:
        queue = temporary_queue()(connection.default_channel)
        queue.declare()
        returned = []
        producer = connection.Producer(on_return=lambda *args: returned.append(args))
        for number in range(50):
            producer.publish(number, routing_key=queue.name)
        assert queue.queue_declare(passive=True).message_count == 50
        producer.publish('lost', routing_key='kombu-nowhere', mandatory=True)
        assert len(returned) == 1
        with pytest.raises(amqp.NoRoute):
            connection.Producer(connection.channel()).publish(
                'lost', routing_key='kombu-nowhere', mandatory=True
            )


def test_confirm_publish_raises_when_the_broker_nacks(broker):
    with connection_to(broker, transport_options={'confirm_publish': True}) as connection:
        full = temporary_queue(max_length=1, queue_arguments={'x-overflow': 'reject-publish'})(
            connection.default_channel
        )
        full.declare()
        producer = connection.Producer()
        producer.publish('x', routing_key=full.name)
        with pytest.raises(amqp.MessageNacked):
            producer.publish('x', routing_key=full.name)
        # Kombu takes it for recoverable: once there is room, the retry succeeds.
        purged = []

        def make_room(error, interval):
            purged.append(error)
            with connection_to(broker) as other:
                full(other.default_channel).purge()

        publish = connection.ensure(producer, producer.publish, errback=make_room, max_retries=3)
        publish('x', routing_key=full.name)
        publish('x', routing_key=full.name)
        assert purged
        assert all(isinstance(error, amqp.MessageNacked) for error in purged)


def test_a_channel_recovers_as_the_same_object(connection):
    channel = connection.channel()
    producer = kombu.Producer(channel)
    queue = temporary_queue()(channel)
    queue.declare()

    def declare():
        return queue.queue_declare(passive=True)

    for count in range(1, 4):
        with pytest.raises(amqp.NotFound):
            kombu.Queue('kombu-missing', channel=channel).queue_declare(passive=True)
        producer.publish('x', routing_key=queue.name)
        with pytest.raises(amqp.PreconditionFailed, match=queue.name):
            kombu.Queue(queue.name, durable=True, channel=channel).queue_declare()
        producer.publish('x', exchange='kombu-missing', routing_key='x')
        with pytest.raises(amqp.NotFound):
            declare()
        wait_for(lambda expected=count: declare().message_count == expected)
        assert connection.connected


def test_ensure_retries_channel_errors_on_the_same_channel(broker, connection):
    owner = connection_to(broker)
    queue = kombu.Queue(f'kombu-{uuid.uuid4().hex}', exclusive=True)
    queue(owner.default_channel).declare()
    channel = connection.channel()
    errors = []

    def on_error(error, interval):
        errors.append(error)
        owner.close()

    declare = connection.ensure(channel, queue(channel).queue_declare, on_error, max_retries=100)
    assert declare().queue == queue.name
    assert all(isinstance(error, amqp.ResourceLocked) for error in errors)
    assert errors
    assert channel.connection is connection.connection


# -- losing the connection


@pytest.mark.slow
def test_producers_and_consumers_survive_a_restart(private_broker):
    broker = private_broker
    queue = temporary_queue(durable=True, expires=None)
    received = []

    class Worker(ConsumerMixin):
        connect_max_retries = 100

        def __init__(self, connection):
            self.connection = connection
            self.ready = threading.Event()
            self.lost = threading.Event()

        def get_consumers(self, consumer_class, channel):
            return [consumer_class([queue], on_message=self.on_message)]

        def on_consume_ready(self, connection, channel, consumers, **kwargs):
            self.ready.set()

        def on_connection_error(self, error, interval):
            self.lost.set()

        def on_message(self, message):
            received.append(message.payload)
            message.ack()

    options = {'transport_options': {'confirm_publish': True}}
    with (
        Outage(broker) as outage,
        connection_to(broker) as consumer_side,
        connection_to(broker, **options) as connection,
    ):
        worker = Worker(consumer_side)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        try:
            assert worker.ready.wait(PATIENCE)
            producer = connection.Producer()

            def publish(number):
                producer.publish(number, routing_key=queue.name, retry=True, retry_policy=RETRY)

            for number in range(100):
                publish(number)
            outage.begin('restart')
            for number in range(100, 200):
                publish(number)
            outage.wait()
            for number in range(200, 300):
                publish(number)
            wait_for(lambda: set(received) == set(range(300)))
        finally:
            worker.should_stop = True
            thread.join(PATIENCE)
        assert not thread.is_alive()


def test_autoretry_with_a_connection_that_was_closed(connection):
    queue = temporary_queue()
    calls = []

    def declare(channel=None):
        calls.append(channel)
        return queue(channel).queue_declare()

    retried = connection.autoretry(declare, max_retries=10, interval_start=0.05)
    assert retried()[0].queue == queue.name
    connection.connection.sock.shutdown(socket.SHUT_RDWR)
    assert retried()[0].queue == queue.name
    assert len(calls) == 3


def test_a_lost_connection_raises_what_kombu_expects(connection):
    channel = connection.channel()
    inner = connection.connection
    inner.sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(connection.recoverable_connection_errors) as caught:
        connection.drain_events(timeout=PATIENCE)
    assert not isinstance(caught.value, socket.timeout)
    assert channel.connection is None
    assert not inner.connected
    for use in (
        inner.channel,
        inner.heartbeat_tick if inner.heartbeat else inner.send_heartbeat,
        lambda: inner.drain_events(timeout=0),
        lambda: channel.queue_declare('x'),
        lambda: channel.basic_publish(amqp.Message('x')),
        lambda: inner.sock,
    ):
        with pytest.raises(amqp.RecoverableConnectionError):
            use()
    inner.collect()
    channel.close()
    connection.collect()
    assert connection.ensure_connection(max_retries=3).connected
    assert connection.default_channel.connection is connection.connection


def test_failover(broker):
    with socket.create_server(('127.0.0.1', 0)) as placeholder:
        closed = placeholder.getsockname()[1]
    connection = kombu.Connection(
        f'pyamqp://127.0.0.1:{closed}//;pyamqp://{broker.host}:{broker.port}//',
        failover_strategy='round-robin',
        connect_timeout=2,
    )
    with connection:
        connection.ensure_connection(max_retries=4, interval_start=0, interval_step=0)
        assert connection.connected
        assert connection.port == broker.port


def test_wrong_credentials_and_virtual_hosts(broker):
    with connection_to(broker, password='wrong') as connection:
        connection.password = 'wrong'
        with pytest.raises(amqp.AccessRefused):
            connection.connect()
    with connection_to(broker, virtual_host='kombu-missing') as connection:
        connection.virtual_host = 'kombu-missing'
        with pytest.raises(amqp.NotAllowed):
            connection.connect()


def test_virtual_hosts_are_apart(broker):
    broker.ctl('add_vhost', 'kombu/other')
    broker.ctl('set_permissions', '-p', 'kombu/other', 'guest', '.*', '.*', '.*')
    try:
        name = f'kombu-{uuid.uuid4().hex}'
        url = f'pyamqp://guest:guest@{broker.host}:{broker.port}/kombu%2Fother'
        with kombu.Connection(url) as other, connection_to(broker) as connection:
            assert other.virtual_host == 'kombu/other'
            kombu.Queue(name, channel=other.default_channel, durable=False).declare()
            with pytest.raises(amqp.NotFound):
                kombu.Queue(name, channel=connection.channel()).queue_declare(passive=True)
    finally:
        broker.ctl('delete_vhost', 'kombu/other')


# -- TLS


def test_tls_with_an_unknown_authority_is_refused(broker):
    with kombu.Connection(
        f'amqps://{broker.host}:{broker.tls_port}//',
        ssl={'cert_reqs': ssl.CERT_REQUIRED, 'server_hostname': None},
        connect_timeout=5,
    ) as connection:
        with pytest.raises(ssl.SSLError):
            connection.connect()


@pytest.mark.parametrize('kind', ['context', 'unchecked dict'])
def test_tls_options(broker, kind):
    options = {'cert_reqs': ssl.CERT_NONE}
    if kind == 'context':
        options = ssl.create_default_context(cafile=str(broker.ca_file))
    with kombu.Connection(
        f'pyamqp://{broker.host}:{broker.tls_port}//', ssl=options, connect_timeout=5
    ) as connection:
        connection.connect()
        assert isinstance(connection.connection.sock, ssl.SSLSocket)


# -- heartbeats


def test_heartbeat_check_keeps_an_idle_connection(broker):
    with connection_to(broker, heartbeat=1) as connection:
        connection.connect()
        assert connection.get_heartbeat_interval() == 1
        end = time.monotonic() + 4
        while time.monotonic() < end:
            connection.heartbeat_check()
            threading.Event().wait(0.4)
        assert connection.default_channel.queue_declare(exclusive=True)


def test_heartbeats_are_kept_while_a_drain_waits(broker):
    with connection_to(broker, heartbeat=1) as connection:
        connection.connect()
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=4)
        assert connection.default_channel.queue_declare(exclusive=True)


# -- event loop


class Loop:
    """A hub with one connection, as a Celery worker sets it up."""

    def __init__(self, connection):
        self.connection = connection
        self.hub = Hub()
        self.hub.propagate_errors = connection.connection_errors + connection.channel_errors
        connection.register_with_event_loop(self.hub)

    def run_until(self, done, timeout=PATIENCE):
        late = threading.Event()
        self.hub.call_later(timeout, late.set)
        loop = self.hub.create_loop()
        while not done():
            assert not late.is_set(), 'the loop has come to rest with events unseen'
            next(loop)

    def close(self):
        self.hub.close()


@pytest.fixture
def loop(either_connection):
    either_connection.connect()
    loop = Loop(either_connection)
    yield loop
    loop.close()


@pytest.mark.parametrize('prefetch', [1, 7, 0])
def test_an_event_loop_never_stalls(loop, prefetch):
    """RPCs and publishes take frames in behind the loop's back: none may get lost there."""
    connection = loop.connection
    queue = temporary_queue()
    results = temporary_queue()
    count = 300
    producer = connection.Producer(connection.channel())
    rpc = connection.channel()
    queue(rpc).declare()
    results(rpc).declare()
    for number in range(count):
        producer.publish(number, routing_key=queue.name)
    received, answers = [], []

    def on_message(message):
        received.append(message.payload)
        producer.publish(message.payload, routing_key=results.name)
        if message.payload % 5 == 0:
            results(rpc).queue_declare(passive=True)
        if message.payload % 50 == 0:
            with connection.channel() as short_lived:
                short_lived.basic_qos(0, 1, False)
        message.ack()

    consumer = kombu.Consumer(
        connection.channel(), [queue], on_message=on_message, prefetch_count=prefetch
    )
    answer_consumer = kombu.Consumer(
        connection.channel(), [results], on_message=lambda m: answers.append(m.payload), no_ack=True
    )
    with consumer, answer_consumer:
        loop.run_until(lambda: len(answers) == count)
    assert received == list(range(count))
    assert answers == list(range(count))


def test_an_event_loop_with_confirmed_publishes(broker):
    with connection_to(broker, transport_options={'confirm_publish': True}) as connection:
        connection.connect()
        loop = Loop(connection)
        queue, results = temporary_queue(), temporary_queue()
        count = 200
        producer = connection.Producer(connection.channel())
        for each in (queue, results):
            each(connection.default_channel).declare()
        for number in range(count):
            producer.publish(number, routing_key=queue.name)
        answers = []

        def on_message(message):
            producer.publish(message.payload, routing_key=results.name)
            message.ack()

        with (
            consuming(connection.channel(), queue, on_message, prefetch_count=10),
            consuming(
                connection.channel(), results, lambda m: answers.append(m.payload), no_ack=True
            ),
        ):
            loop.run_until(lambda: len(answers) == count)
        loop.close()
        assert answers == list(range(count))


def test_an_event_loop_hears_of_a_lost_connection(loop):
    connection = loop.connection
    loop.hub.call_soon(connection.connection.sock.shutdown, socket.SHUT_RDWR)
    with pytest.raises(connection.recoverable_connection_errors):
        loop.run_until(lambda: False)


def test_an_event_loop_that_publishes_from_a_timer(loop):
    """Nothing but the broker's replies makes the socket readable."""
    connection = loop.connection
    queue = temporary_queue()
    received = []
    channel = connection.default_channel
    with consuming(channel, queue(channel), lambda m: received.append(m.payload), no_ack=True):
        producer = connection.Producer()

        def publish():
            producer.publish('tick', routing_key=queue.name)
            queue(channel).queue_declare(passive=True)

        for delay in range(20):
            loop.hub.call_later(delay / 100, publish)
        loop.run_until(lambda: len(received) == 20)


def is_readable(sock):
    return bool(select.select([sock], [], [], 0)[0])


def test_the_socket_is_readable_until_a_loop_has_seen_all(connection):
    """Kombu's hub polls it between two events, and for up to a second, whatever else is to do.

    So it does with the acks that a callback has left to it: they wait for the next event.
    """
    connection.connect()
    loop = Loop(connection)
    queue = temporary_queue()
    received = []
    channel = connection.default_channel
    with consuming(channel, queue(channel), received.append, prefetch_count=3):
        producer = connection.Producer()
        for number in range(3):
            producer.publish(number, routing_key=queue.name)
        sock = connection.connection.sock
        while len(received) < 3:
            before = len(received)
            wait_for(lambda: is_readable(sock))
            with suppress(socket.timeout):
                connection.drain_events(timeout=0)
            if len(received) > before:
                assert len(received) == before + 1
                assert is_readable(sock)
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=0)
        assert not is_readable(sock)
    loop.close()


def test_an_event_loop_that_is_left_the_acks(loop):
    connection = loop.connection
    queue = temporary_queue()
    received = []
    channel = connection.channel()
    queue(channel).declare()
    producer = connection.Producer(channel)
    for number in range(300):
        producer.publish(number, routing_key=queue.name)

    def on_message(message):
        received.append(message.payload)
        loop.hub.call_soon(message.ack)

    with consuming(connection.channel(), queue, on_message, prefetch_count=4):
        loop.run_until(lambda: len(received) == 300)
    assert received == list(range(300))


# -- pools, forks, mailboxes


def test_connection_and_channel_pools(connection):
    pool = connection.Pool(2)
    try:
        with pool.acquire() as first, pool.acquire() as second:
            assert first.default_channel.connection is not second.default_channel.connection
            with pytest.raises(pool.LimitExceeded):
                pool.acquire()
    finally:
        pool.force_close_all()
    channels = connection.ChannelPool(3)
    with channels.acquire() as channel:
        assert channel.queue_declare(exclusive=True)
    channels.force_close_all()


def test_producer_pools_shared_by_threads(broker, pools):
    connection = connection_to(broker, transport_options={'confirm_publish': True})
    queue = temporary_queue()
    queue(connection.default_channel).declare()
    errors = []

    def publish():
        try:
            for _ in range(50):
                with producer_pools[connection].acquire(block=True, timeout=PATIENCE) as producer:
                    producer.publish('x', routing_key=queue.name)
        except BaseException as exc:
            errors.append(exc)
            raise

    threads = [threading.Thread(target=publish, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert queue(connection.default_channel).queue_declare(passive=True).message_count == 400
    with connection_pools[connection].acquire(block=True) as pooled:
        assert pooled.connected
    connection.close()


def run_in_child(function):
    """Call *function* in a forked child; its exit status, which 0 says went well."""
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status)
    status = 1
    try:
        function()
        status = 0
    except BaseException:  # noqa: BLE001 - the child must not return into pytest
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_collect_after_a_fork_leaves_the_parent_alone(either_connection):
    connection = either_connection
    queue = temporary_queue()
    channel = connection.default_channel
    received = []

    def in_child():
        inherited = connection.connection
        with pytest.raises(amqp.RecoverableConnectionError):
            inherited.channel()
        with pytest.raises(amqp.RecoverableConnectionError):
            channel.basic_publish(amqp.Message('from the child'), routing_key=queue.name)
        connection.collect()
        assert not inherited.connected
        with connection.clone() as own:
            own.Producer().publish('child', routing_key=queue.name)
        # The same object connects anew, as Celery's pool processes have it do.
        connection.Producer().publish('revived', routing_key=queue.name)
        connection.close()

    with consuming(channel, queue(channel), lambda m: received.append(m.payload), no_ack=True):
        assert run_in_child(in_child) == 0
        connection.Producer().publish('parent', routing_key=queue.name)
        drain_until(connection, lambda: len(received) == 3)
    assert received == ['child', 'revived', 'parent']


def test_a_mailbox_answers_broadcasts(broker):
    mailbox = Mailbox(f'kombu-{uuid.uuid4().hex}', type='fanout', accept=['json'])
    stop = threading.Event()
    ready = threading.Event()
    state = {'asked': 0}

    def serve():
        with connection_to(broker) as connection:
            bound = mailbox(connection)
            node = bound.Node('node1', state=state, channel=connection.default_channel)

            @node.handler
            def echo(state, **arguments):
                state['asked'] += 1
                return arguments

            consumer = node.listen()
            ready.set()
            while not stop.is_set():
                with suppress(socket.timeout):
                    connection.drain_events(timeout=0.2)
            consumer.cancel()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        with connection_to(broker) as connection:
            bound = mailbox(connection)
            for number in range(5):
                replies = bound.call(['node1'], 'echo', {'number': number}, timeout=PATIENCE)
                assert replies == [{'node1': {'number': number}}]
            replies = bound.multi_call('echo', {'all': True}, timeout=0.5)
            assert replies == [{'node1': {'all': True}}]
            bound.cast(['node1'], 'echo')
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert state['asked'] >= 6


def test_callable_passwords_are_asked_each_time(broker):
    asked = []

    def password():
        asked.append(1)
        return 'guest'

    with kombu.Connection(
        transport='pyamqp',
        hostname=broker.host,
        port=broker.port,
        userid='guest',
        password=password,
    ) as connection:
        connection.connect()
        connection.collect()
        connection.ensure_connection(max_retries=2)
    assert len(asked) == 2
