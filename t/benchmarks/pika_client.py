"""Pika."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

from t.benchmarks.contestant import Contestant, Run, Target
from t.benchmarks.samples import Sample

#: Each message costs it more, the more of them wait.
PREFETCH = 500


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
        if ack:
            return self._acknowledging(target)
        connection = self.connect(target)
        received = 0

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal received
            received += 1

        def on_message_header(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal received
            properties.headers['task']
            received += 1

        callback = on_message_header if touch == 'header' else on_message
        channel = connection.channel()
        channel.basic_consume(target.queue, callback, auto_ack=True, consumer_tag='bench')

        def run(count: int) -> int:
            nonlocal received
            received = 0
            while received < count:
                connection.process_data_events(time_limit=None)
            return received

        return run

    def _acknowledging(self, target: Target) -> Run:
        """By Pika's generator: with callbacks it reads on at each ack, and comes back from its
        dispatching when there is nothing more to read, which may be never.
        """
        channel = self.connect(target).channel()
        channel.basic_qos(prefetch_count=target.prefetch or PREFETCH)
        messages = channel.consume(target.queue, consumer_tag='bench')

        def run(count: int) -> int:
            for method, _, _ in islice(messages, count):
                channel.basic_ack(method.delivery_tag)
            return count

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
