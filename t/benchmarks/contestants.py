"""The clients that are compared: a class for each, which says how to install it and how to use it.

To add one, derive from `Contestant`, name what to install, and write the tasks that the client can
do, each as its users would. A task sets things up and returns a `Run`: called with a number, it
does that many messages (or a few more) and returns how many. The methods run inside a worker, in
the contestant's own environment: import the client there, and nothing but the standard library and
`samples` at the top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, ClassVar

from t.benchmarks.samples import Sample, celery_headers

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[[int], int]


class UnsupportedError(Exception):
    """The client has no such thing."""


@dataclass(frozen=True)
class Target:
    """Where to connect, and the queue to use there."""

    port: int
    virtual_host: str
    host: str = '127.0.0.1'
    queue: str = 'bench'
    #: Messages that a consumer gets ahead of its acknowledgements; 0 is no limit.
    prefetch: int = 0


class Contestant:
    """A client. Each task raises `UnsupportedError` where there is no such thing."""

    key: ClassVar[str]
    title: ClassVar[str]
    #: What is imported.
    module: ClassVar[str]
    #: What pip installs. The project's own folder is a source: installed anew when it changes.
    requirements: ClassVar[tuple[str, ...]]
    pip_options: ClassVar[tuple[str, ...]] = ()
    #: What has to be there before that, as a build without isolation needs.
    build_requirements: ClassVar[tuple[str, ...]] = ()
    environ: ClassVar[Mapping[str, str]] = {}

    @property
    def is_own(self) -> bool:
        """Whether it's this project."""
        return str(ROOT) in self.requirements

    def describe(self) -> dict[str, Any]:
        """Version and build, as found in the environment."""
        module = __import__(self.module)
        folder = Path(module.__file__ or '').parent
        compiled = any(folder.glob('*.so')) or any(folder.glob('*.pyd'))
        return {'version': module.__version__, 'build': 'compiled' if compiled else 'pure'}

    def connect(self, target: Target) -> Any:
        raise UnsupportedError

    def channel(self, connection: Any) -> Any:
        return connection.channel()

    def publish(self, target: Target, sample: Sample) -> Run:
        raise UnsupportedError

    def consume(self, target: Target, sample: Sample, touch: str = '', ack: bool = False) -> Run:
        raise UnsupportedError

    def consume_batch(self, target: Target, sample: Sample) -> Run:
        raise UnsupportedError

    def confirm(self, target: Target, sample: Sample) -> Run:
        raise UnsupportedError

    def confirm_pipelined(self, target: Target, sample: Sample, window: int) -> Run:
        raise UnsupportedError

    def declare(self, target: Target) -> Run:
        raise UnsupportedError

    def get(self, target: Target) -> Run:
        raise UnsupportedError

    def dumps(self) -> Run:
        raise UnsupportedError

    def loads(self) -> Run:
        raise UnsupportedError


class AMQP(Contestant):
    """The API that this package and py-amqp share."""

    module = 'amqp'

    def connect(self, target: Target) -> Any:
        import amqp

        connection = amqp.Connection(
            f'{target.host}:{target.port}', virtual_host=target.virtual_host
        )
        connection.connect()
        return connection

    def publish(self, target: Target, sample: Sample) -> Run:
        from amqp import Message

        channel = self.connect(target).channel()
        body, variants = sample.body, cycle(sample.variants)

        def run(count: int) -> int:
            for properties in islice(variants, count):
                channel.basic_publish(Message(body, **properties), routing_key=target.queue)
            return count

        return run

    def consume(self, target: Target, sample: Sample, touch: str = '', ack: bool = False) -> Run:
        connection = self.connect(target)
        return self._consumer(connection, target, touch, ack)

    def _consumer(self, connection: Any, target: Target, touch: str, ack: bool) -> Run:
        channel = connection.channel()
        received = 0

        def on_message(message: Any) -> None:
            nonlocal received
            received += 1

        def on_message_header(message: Any) -> None:
            nonlocal received
            message.headers['task']
            received += 1

        def on_message_body(message: Any) -> None:
            nonlocal received
            message.body  # noqa: B018 - the touch is what is measured
            received += 1

        def on_message_ack(message: Any) -> None:
            nonlocal received
            channel.basic_ack(message.delivery_tag)
            received += 1

        callback = {'header': on_message_header, 'body': on_message_body}.get(touch, on_message)
        if ack:
            callback = on_message_ack
        if target.prefetch:
            channel.basic_qos(0, target.prefetch, False)
        channel.basic_consume(target.queue, consumer_tag='bench', no_ack=not ack, callback=callback)

        def run(count: int) -> int:
            nonlocal received
            received = 0
            while received < count:
                connection.drain_events()
            return received

        return run

    def consume_batch(self, target: Target, sample: Sample) -> Run:
        connection = self.connect(target)
        if not hasattr(connection, 'batch'):
            raise UnsupportedError
        consume = self._consumer(connection, target, '', ack=True)

        def run(count: int) -> int:
            with connection.batch():
                return consume(count)

        return run

    def confirm(self, target: Target, sample: Sample) -> Run:
        from amqp import Message

        channel = self.connect(target).channel()
        body, variants = sample.body, cycle(sample.variants)

        def run(count: int) -> int:
            for properties in islice(variants, count):
                channel.basic_publish_confirm(Message(body, **properties), routing_key=target.queue)
            return count

        return run

    def confirm_pipelined(self, target: Target, sample: Sample, window: int) -> Run:
        from amqp import Message

        connection = self.connect(target)
        channel = connection.channel()
        channel.confirm_select()
        body, variants = sample.body, cycle(sample.variants)
        sent = confirmed = 0

        def on_ack(delivery_tag: int, multiple: bool) -> None:
            nonlocal confirmed
            confirmed = delivery_tag if multiple else confirmed + 1

        channel.events['basic_ack'].add(on_ack)

        def run(count: int) -> int:
            nonlocal sent
            rounds = -(-count // window)
            for _ in range(rounds):
                for properties in islice(variants, window):
                    channel.basic_publish(Message(body, **properties), routing_key=target.queue)
                sent += window
                while confirmed < sent:
                    connection.drain_events()
            return rounds * window

        return run

    def declare(self, target: Target) -> Run:
        channel = self.connect(target).channel()

        def run(count: int) -> int:
            for _ in range(count):
                channel.queue_declare(target.queue, passive=True)
            return count

        return run

    def get(self, target: Target) -> Run:
        channel = self.connect(target).channel()

        def run(count: int) -> int:
            for _ in range(count):
                channel.basic_get(target.queue, no_ack=True)
            return count

        return run

    def dumps(self) -> Run:
        from amqp.serialization import dumps

        tables = cycle([celery_headers(number) for number in range(256)])

        def run(count: int) -> int:
            for table in islice(tables, count):
                dumps('F', [table])
            return count

        return run

    def loads(self) -> Run:
        from amqp.serialization import dumps, loads

        tables = cycle([dumps('F', [celery_headers(number)]) for number in range(256)])

        def run(count: int) -> int:
            for table in islice(tables, count):
                loads('F', table, 0)
            return count

        return run

    def fill(self, target: Target, sample: Sample, count: int) -> None:
        """Leave so many messages in the queue, and no others."""
        connection = self.connect(target)
        channel = connection.channel()
        channel.queue_declare(target.queue, auto_delete=False)
        channel.queue_purge(target.queue)
        window = min(100, count)
        self.confirm_pipelined(target, sample, window)(count)
        connection.close()


class Compiled(AMQP):
    key = 'compiled'
    title = 'amqp, compiled'
    requirements = (str(ROOT),)
    environ: ClassVar[Mapping[str, str]] = {'AMQP_REQUIRE_CYTHON': '1'}


class Pure(AMQP):
    key = 'pure'
    title = 'amqp, pure'
    requirements = (str(ROOT),)
    environ: ClassVar[Mapping[str, str]] = {'AMQP_SKIP_CYTHON': '1'}


class PyAMQP(AMQP):
    key = 'py-amqp'
    title = 'py-amqp 5.4.2'
    requirements = ('amqp==5.4.2',)


class PyAMQPCompiled(AMQP):
    """py-amqp compiles itself where it is told to and finds Cython; its wheel is pure."""

    key = 'py-amqp-compiled'
    title = 'py-amqp 5.4.2, compiled'
    requirements = ('amqp==5.4.2',)
    # A wheel that pip made without the switch must not be found.
    pip_options = ('--no-binary=amqp', '--no-build-isolation', '--no-cache-dir')
    build_requirements = ('cython>=3.1', 'setuptools>=77', 'wheel')
    environ: ClassVar[Mapping[str, str]] = {'CELERY_ENABLE_SPEEDUPS': '1'}


class Pika(Contestant):
    """Pika's BlockingConnection. Its publishes and its confirms are one call; it has no codec."""

    key = 'pika'
    title = 'Pika 1.4'
    module = 'pika'
    requirements = ('pika==1.4.*',)

    def connect(self, target: Target) -> Any:
        import pika

        parameters = pika.ConnectionParameters(
            target.host, target.port, target.virtual_host, heartbeat=0
        )
        return pika.BlockingConnection(parameters)

    def publish(self, target: Target, sample: Sample) -> Run:
        return self._publisher(self.connect(target).channel(), target, sample)

    def confirm(self, target: Target, sample: Sample) -> Run:
        channel = self.connect(target).channel()
        channel.confirm_delivery()
        return self._publisher(channel, target, sample)

    def _publisher(self, channel: Any, target: Target, sample: Sample) -> Run:
        from pika import BasicProperties

        names = {'application_headers': 'headers'}
        body = sample.body
        variants = cycle(
            [{names.get(name, name): each[name] for name in each} for each in sample.variants]
        )

        def run(count: int) -> int:
            for properties in islice(variants, count):
                channel.basic_publish('', target.queue, body, BasicProperties(**properties))
            return count

        return run

    def consume(self, target: Target, sample: Sample, touch: str = '', ack: bool = False) -> Run:
        connection = self.connect(target)
        channel = connection.channel()
        received = 0

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal received
            received += 1

        def on_message_header(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal received
            properties.headers['task']
            received += 1

        def on_message_ack(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal received
            channel.basic_ack(method.delivery_tag)
            received += 1

        callback = on_message_header if touch == 'header' else on_message
        if ack:
            callback = on_message_ack
        if target.prefetch:
            channel.basic_qos(prefetch_count=target.prefetch)
        channel.basic_consume(target.queue, callback, auto_ack=not ack, consumer_tag='bench')

        def run(count: int) -> int:
            nonlocal received
            received = 0
            while received < count:
                connection.process_data_events(time_limit=None)
            return received

        return run

    def declare(self, target: Target) -> Run:
        channel = self.connect(target).channel()

        def run(count: int) -> int:
            for _ in range(count):
                channel.queue_declare(target.queue, passive=True)
            return count

        return run

    def get(self, target: Target) -> Run:
        channel = self.connect(target).channel()

        def run(count: int) -> int:
            for _ in range(count):
                channel.basic_get(target.queue, auto_ack=True)
            return count

        return run


CONTESTANTS: dict[str, Contestant] = {
    each.key: each() for each in (Compiled, Pure, PyAMQP, PyAMQPCompiled, Pika)
}
BASELINE = PyAMQP.key
