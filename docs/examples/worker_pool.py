"""Handle a queue in eight threads; end in good order when told to."""

import logging
import signal
import sys

import amqp
from amqp.worker_pool import WorkerPool

log = logging.getLogger('worker')


def work(message):
    log.info('working on %r', message.body)


def main(host, queue):
    with amqp.Connection(host, connect_timeout=5, heartbeat=30) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=False)
        pool = WorkerPool(connection, workers=8, on_error='reject', grace=25)
        pool.consume(queue, work)
        pool.run(signals=(signal.SIGTERM, signal.SIGINT))


if __name__ == '__main__':
    logging.basicConfig(level=logging.INFO)
    main(sys.argv[1] if len(sys.argv) > 1 else 'localhost:5672', 'tasks')
