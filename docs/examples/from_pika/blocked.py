"""Publish, and hear of it when the broker takes no more messages for a while."""

import contextlib
import sys
import time

import amqp


def on_blocked(reason):
    print('blocked:', reason, flush=True)


def on_unblocked():
    print('unblocked', flush=True)


def main(url='amqp://localhost:5672', queue='test'):
    options = {'blocked_timeout': 5, 'on_blocked': on_blocked, 'on_unblocked': on_unblocked}
    with amqp.connect(url, **options) as connection:
        channel = connection.channel()
        while True:
            try:
                channel.basic_publish(amqp.Message(time.ctime()), routing_key=queue)
            except amqp.Blocked as exc:
                print('not published:', exc.reason, flush=True)
            connection.sleep(1)


if __name__ == '__main__':
    with contextlib.suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
