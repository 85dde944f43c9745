"""This package, and py-amqp, whose API it has: the same code for both."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle, islice
from typing import Any, ClassVar

from t.benchmarks.contestant import ROOT, Contestant, Run, Target, UnsupportedError
from t.benchmarks.samples import Sample, celery_headers


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
        return self._publisher(self.connect(target), target, sample)

    def _publisher(self, connection: Any, target: Target, sample: Sample) -> Run:
        from amqp import Message

        channel = connection.channel()
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

    def publish_batch(self, target: Target, sample: Sample) -> Run:
        connection = self._connect_with_batch(target)
        return self._in_batch(connection, self._publisher(connection, target, sample))

    def consume_batch(self, target: Target, sample: Sample) -> Run:
        connection = self._connect_with_batch(target)
        return self._in_batch(connection, self._consumer(connection, target, '', ack=True))

    def _connect_with_batch(self, target: Target) -> Any:
        import amqp

        if not hasattr(amqp.Connection, 'batch'):
            raise UnsupportedError
        return self.connect(target)

    def _in_batch(self, connection: Any, each: Run) -> Run:
        def run(count: int) -> int:
            with connection.batch():
                return each(count)

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
