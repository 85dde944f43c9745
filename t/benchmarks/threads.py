"""What threads get who share a connection, and what its locks cost a thread that is alone.

    python -m t.helpers.broker python t/benchmarks/threads.py

measures on a node of its own. It's run by its path, so that the project's folder comes last in the
search, and what is installed is measured. Throughput is by the clock on the wall; the ways take
turns, and the median of their ratios counts. What one thread reaches alone is told beside them: the
broker reads a connection by one process of its own. `t.benchmarks.unlocked` makes what is compared
with where nobody shares anything. The status is 1 where a goal is missed.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

if __name__ == '__main__':
    sys.path.append(str(Path(__file__).resolve().parents[2]))

import amqp
from t.benchmarks.measure import one_cpu
from t.benchmarks.peer import PeerProcess
from t.benchmarks.unlocked import price_of_locks

THREADS = 8
ROUNDS = 9
#: Messages that show how many take so many seconds.
SAMPLE, SECONDS = 16_000, 1.5
BODY = bytes(1024)

#: The goals: a part of the throughput of connections of one's own, and of one thread's CPU time.
LEAST, MOST = 0.80, 0.05

Open = Callable[[], Any]


def a_connection_each(opened: Open) -> list[Any]:
    return [opened().channel() for _ in range(THREADS)]


def a_channel_each(opened: Open) -> list[Any]:
    connection = opened()
    return [connection.channel() for _ in range(THREADS)]


def one_channel(opened: Open) -> list[Any]:
    return [opened().channel()] * THREADS


def one_thread(opened: Open) -> list[Any]:
    return [opened().channel()]


SHARED = (a_channel_each, one_channel)


def publish(channel: Any, count: int) -> None:
    """So many messages that no queue takes."""
    for _ in range(count):
        channel.basic_publish(amqp.Message(BODY), routing_key='benchmark-nowhere')


def rate(channels: list[Any], count: int) -> float:
    """Messages a second of a thread for each, until the broker has dealt with all of *count*."""
    share = count // len(channels)
    with ThreadPoolExecutor(len(channels)) as pool:
        began = time.perf_counter()
        for done in [pool.submit(publish, channel, share) for channel in channels]:
            done.result()
        for channel in set(channels):
            channel.queue_declare(exclusive=True)
        return share * len(channels) / (time.perf_counter() - began)


def measure(way: Callable[[Open], list[Any]], url: str) -> float:
    connections = []

    def opened() -> Any:
        connections.append(amqp.connect(url))
        return connections[-1]

    try:
        channels = way(opened)
        return rate(channels, round(SECONDS * rate(channels, SAMPLE)))
    finally:
        for connection in connections:
            connection.close()


def compare(url: str) -> dict[str, float]:
    """The throughput of each way to share, as a part of that of a connection each."""
    ways = (*SHARED, one_thread)
    ratios: dict[str, list[float]] = {way.__name__: [] for way in ways}
    for _ in range(ROUNDS):
        alone = measure(a_connection_each, url)
        for way in ways:
            together = measure(way, url)
            ratios[way.__name__].append(together / alone)
            say(f'{way.__name__}: {together:,.0f}/s; a connection each: {alone:,.0f}/s')
    return {name: statistics.median(found) for name, found in ratios.items()}


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    shares = compare(os.environ['AMQP_URL'])
    with one_cpu(), PeerProcess() as peer:
        price = price_of_locks(peer.port, say)
    say(f'\nthe {amqp.speedups} build; {THREADS} threads; medians of {ROUNDS} rounds')
    alone = shares.pop(one_thread.__name__)
    for name, share in shares.items():
        say(f'{name}: {share:.0%} of the throughput of a connection each (goal: {LEAST:.0%})')
    say(f'one thread alone on one connection: {alone:.0%} of that')
    say(f'one thread: {price:+.1%} of CPU time for the locks (goal: less than {MOST:.0%})')
    return int(min(shares.values()) < LEAST or price >= MOST)


if __name__ == '__main__':
    sys.exit(main())
