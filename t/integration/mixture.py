"""Work of every kind, in many threads on one connection, that keeps account of itself."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import amqp

from .support import drain_until

#: Octets of bodies: none, one frame that is just full, one octet more, up to 1 MiB.
SIZES = (0, 1, 1_000, 131_064, 131_065, 400_000, 1 << 20)
NOISE = random.Random(0).randbytes(2 << 20)

#: Messages of one worker that may be under way.
AHEAD = 8
#: Seconds of each drain.
PAUSE = 0.05


class Worker:
    """One thread's work, on a channel of its own and on one that all share.

    What it consumes comes in whichever thread drains.
    """

    def __init__(self, connection: amqp.Connection, shared: amqp.Channel, number: int) -> None:
        self.connection, self.shared = connection, shared
        self.random = random.Random(number)
        self.channel = connection.channel()
        self.consumed = self.channel.queue_declare(exclusive=True, auto_delete=False).queue
        self.fetched = self.channel.queue_declare(exclusive=True, auto_delete=False).queue
        self.name = self.consumed.removeprefix('amq.')
        self.sent: list[str] = []
        self.received: list[str] = []  # by whichever thread drains
        self.damaged: list[str] = []
        #: Seconds by which the slowest call of each kind has passed its deadline, or took.
        self.overrun: Counter[str] = Counter()
        self.slowest: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.kinds = (
            *[self.publish, self.share, self.confirm, self.declare, self.fetch, self.drain] * 3,
            self.make_up,
            self.open,
        )
        self.channel.basic_qos(0, 20, False)
        self.channel.basic_consume(self.consumed, callback=self.on_message)

    def work(self, end: float) -> None:
        while time.monotonic() < end:
            kind = self.random.choice(self.kinds)
            if self.under_way() >= AHEAD:
                kind = self.random.choice((self.drain, self.fetch))
            began = time.monotonic()
            limit = kind() or self.connection.rpc_timeout
            took = time.monotonic() - began
            name = kind.__name__
            self.done[name] += 1
            self.slowest[name] = max(self.slowest[name], took)
            self.overrun[name] = max(self.overrun[name], took - limit)

    def under_way(self) -> int:
        return len(self.sent) - len(self.received)

    # -- messages

    def publish(self) -> None:
        self._publish(self.channel.basic_publish)

    def share(self) -> None:
        self._publish(self.shared.basic_publish)

    def confirm(self) -> None:
        channel = self.random.choice((self.channel, self.shared))
        self._publish(channel.basic_publish_confirm)

    def _publish(self, method: Callable[..., Any]) -> None:
        start, size = self.random.randrange(1 << 20), self.random.choice(SIZES)
        body = NOISE[start : start + size]
        key = f'{self.name}-{len(self.sent)}'
        seal = {'digest': hashlib.sha256(body).hexdigest()}
        self.sent.append(key)
        queue = self.random.choice((self.consumed, self.fetched))
        method(amqp.Message(body, correlation_id=key, application_headers=seal), routing_key=queue)

    def on_message(self, message: amqp.Message) -> None:
        body = message.body if isinstance(message.body, bytes) else message.body.encode()
        if hashlib.sha256(body).hexdigest() != message.headers['digest']:
            self.damaged.append(message.correlation_id)
        self.received.append(message.correlation_id)
        message.channel.basic_ack(message.delivery_tag)

    def fetch(self) -> None:
        message = self.channel.basic_get(self.fetched)
        if message is not None:
            self.on_message(message)

    def drain(self) -> float:
        with suppress(TimeoutError):
            self.connection.drain_events(timeout=PAUSE)
        return PAUSE

    # -- calls

    def declare(self) -> None:
        """A reply tells whose it is by the name of the queue."""
        queue = self.random.choice((self.consumed, self.fetched))
        assert self.channel.queue_declare(queue, passive=True).queue == queue

    def make_up(self) -> None:
        name = f'{self.name}-{self.random.getrandbits(64):x}'
        assert self.channel.queue_declare(name, exclusive=True).queue == name
        assert self.channel.queue_delete(name) == 0

    def open(self) -> None:
        with self.connection.channel() as channel:
            assert channel.queue_declare(self.fetched, passive=True).queue == self.fetched


class Mixture:
    """So many workers at the same time, for so many seconds."""

    def __init__(self, connection: amqp.Connection, threads: int) -> None:
        self.connection = connection
        shared = connection.channel()
        self.workers = [Worker(connection, shared, number) for number in range(threads)]

    def run(self, seconds: float) -> None:
        """All of it, until what has been sent has come. Raises what a worker raised."""
        end = time.monotonic() + seconds
        errors: list[BaseException] = []

        def work(worker: Worker) -> None:
            try:
                worker.work(end)
            except BaseException as exc:  # noqa: BLE001 - raised below
                errors.append(exc)

        threads = [threading.Thread(target=work, args=(each,)) for each in self.workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        self._settle()

    def _settle(self) -> None:
        for worker in self.workers:
            while worker.channel.queue_declare(worker.fetched, passive=True).message_count:
                worker.fetch()
        drain_until(self.connection, lambda: not any(w.under_way() > 0 for w in self.workers))

    def total(self, name: str) -> Counter[str]:
        total: Counter[str] = Counter()
        for worker in self.workers:
            total.update(getattr(worker, name))
        return total

    def worst(self, name: str) -> dict[str, float]:
        """The largest of each kind."""
        kinds = {kind for worker in self.workers for kind in getattr(worker, name)}
        return {kind: max(getattr(worker, name)[kind] for worker in self.workers) for kind in kinds}
