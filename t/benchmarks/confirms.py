"""How much faster confirms come that are not waited for one by one, on the same broker.

    python -m t.helpers.broker python t/benchmarks/confirms.py

measures on a node of its own. It's run by its path, so that what is installed is measured. Rates
are by the clock on the wall, for what is saved is waiting; the ways take turns, and the median of
their ratios counts.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import amqp

ROUNDS = 9
ONE_BY_ONE, MANY = 500, 10_000
WINDOW = 1_000
BODY = bytes(1024)


def message() -> amqp.Message:
    """A persistent one: what is worth a confirm is."""
    return amqp.Message(BODY, delivery_mode=2)


def one_by_one(channel: Any, queue: str, count: int) -> None:
    for _ in range(count):
        channel.basic_publish_confirm(message(), routing_key=queue)


def window(channel: Any, queue: str, count: int) -> None:
    channel.confirm_select(window=WINDOW)
    for _ in range(count):
        channel.basic_publish(message(), routing_key=queue)
    channel.wait_for_confirms()


def promises(channel: Any, queue: str, count: int) -> None:
    channel.confirm_select(window=WINDOW)
    for _ in range(count):
        channel.publish_async(message(), routing_key=queue)
    channel.wait_for_confirms()


def batch(channel: Any, queue: str, count: int) -> None:
    with channel.batch() as publisher:
        for _ in range(count):
            publisher.publish(message(), routing_key=queue)


def rate(url: str, way: Callable[[Any, str, int], None], count: int) -> float:
    """Messages a second."""
    with amqp.connect(url) as connection:
        channel = connection.channel()
        queue = channel.queue_declare('confirms', durable=True, auto_delete=False).queue
        channel.queue_purge(queue)
        way(channel, queue, count // 10)
        began = time.perf_counter()
        way(channel, queue, count)
        return count / (time.perf_counter() - began)


def main() -> int:
    url = os.environ['AMQP_URL']
    ways = {'confirm_select(window=)': window, 'publish_async': promises, 'batch': batch}
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        slow = rate(url, one_by_one, ONE_BY_ONE)
        for name, way in ways.items():
            fast = rate(url, way, MANY)
            ratios[name].append(fast / slow)
            print(f'{name}: {fast:,.0f}/s; one by one: {slow:,.0f}/s; {fast / slow:.1f} times')
    for name, found in ratios.items():
        median = statistics.median(found)
        print(f'{amqp.speedups}, {name}: {median:.1f} times as fast, the median of {ROUNDS}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
