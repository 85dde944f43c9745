"""A program that handles a queue in a pool of threads, until it is told to end.

It prints what it begins and what it ends; a handler ends when the file "gate" is in the directory.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import amqp
from amqp.worker_pool import WorkerPool


def say(*words: object) -> None:
    sys.stdout.write(' '.join(map(str, words)) + '\n')
    sys.stdout.flush()


def main(host: str, queue: str, directory: str) -> None:
    gate = Path(directory) / 'gate'

    def handle(message: amqp.Message) -> None:
        say('begun', message.body)
        while not gate.exists():
            time.sleep(0.01)
        say('done', message.body)

    with amqp.Connection(host, connect_timeout=10, heartbeat=10) as connection:
        pool = WorkerPool(connection, workers=4, on_error='requeue')
        pool.consume(queue, handle, prefetch=20)
        pool.run(signals=(signal.SIGTERM, signal.SIGINT))
    say('over')


if __name__ == '__main__':
    main(*sys.argv[1:])
