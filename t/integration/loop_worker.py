"""A program that handles the messages of a queue in a loop, until none comes for a second.

It prints each one's body when it has handled it, and acknowledges it after that.
"""

from __future__ import annotations

import os
import sys

import amqp


def main(host: str, queue: str) -> None:
    with amqp.Connection(host, connect_timeout=10, heartbeat=10) as connection:
        channel = connection.channel()
        for message in channel.consume(queue, prefetch=20, inactivity_timeout=1):
            if message is None:
                break
            with message.process():
                os.write(sys.stdout.fileno(), f'{message.body}\n'.encode())


if __name__ == '__main__':
    main(*sys.argv[1:])
