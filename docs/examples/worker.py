"""Consume a queue for ever, over restarts of the broker."""

import logging
import random
import sys
import time

import amqp

log = logging.getLogger('worker')


def work(message):
    log.info('working on %r', message.body)
    message.channel.basic_ack(message.delivery_tag)


def consume(host, queue, callback):
    """Consume until an error ends the connection."""
    with amqp.Connection(
        host, connect_timeout=5, heartbeat=30, connection_name='worker'
    ) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=False)
        channel.basic_qos(0, 10, False)
        channel.basic_consume(queue, callback=callback)
        while True:
            connection.drain_events()


def run(host, queue, callback):
    """Consume, connecting anew after each loss, at growing distances."""
    delay = 1
    while True:
        started = time.monotonic()
        try:
            consume(host, queue, callback)
        except amqp.Connection.recoverable_connection_errors as exc:
            if time.monotonic() - started > 60:
                delay = 1
            log.warning('%s; connecting again in about %d s', exc, delay)
            time.sleep(delay * random.uniform(0.8, 1.2))
            delay = min(delay * 2, 30)


if __name__ == '__main__':
    logging.basicConfig(level=logging.INFO)
    run(sys.argv[1] if len(sys.argv) > 1 else 'localhost:5672', 'tasks', work)
