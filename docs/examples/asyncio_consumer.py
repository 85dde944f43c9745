"""Consume a queue within asyncio's event loop, over losses of the connection, until Ctrl-C."""

import asyncio
import contextlib
import logging
import signal
import sys

import amqp

log = logging.getLogger('consumer')


class Consumer:
    """Feeds the messages of a queue to a callback; `lost` is set to the error that ends it."""

    def __init__(self, connection, queue, callback):
        self.loop = asyncio.get_running_loop()
        self.lost = self.loop.create_future()
        self.connection = connection
        self.sock = connection.sock
        channel = connection.channel()
        channel.basic_qos(0, 10, False)
        channel.basic_consume(queue, callback=callback)
        self.loop.add_reader(self.sock, self.on_readable)
        self.timer = self.loop.call_later(1, self.on_timer)

    def on_readable(self):
        try:
            while True:
                self.connection.drain_events(timeout=0)
        except TimeoutError:
            pass  # nothing more is there
        except amqp.AMQPError as exc:
            self.stop(exc)

    def on_timer(self):
        self.timer = self.loop.call_later(1, self.on_timer)
        try:
            self.connection.heartbeat_tick()
        except amqp.AMQPError as exc:
            self.stop(exc)

    def stop(self, exc=None):
        if self.timer.cancelled():
            return  # it has been done before
        self.timer.cancel()
        self.loop.remove_reader(self.sock)
        if not self.lost.done():
            if exc is None:
                self.lost.set_result(None)
            else:
                self.lost.set_exception(exc)
        self.connection.close()


def work(message):
    log.info('working on %r', message.body)
    message.channel.basic_ack(message.delivery_tag)


async def consume(host, queue, callback):
    """Consume until the connection is lost, which raises, or this task is cancelled."""
    connection = amqp.Connection(host, connect_timeout=5, heartbeat=30)
    await asyncio.to_thread(connection.connect)
    consumer = Consumer(connection, queue, callback)
    try:
        await consumer.lost
    finally:
        consumer.stop()


async def main(host='localhost:5672', queue='tasks'):
    task = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    while True:
        try:
            await consume(host, queue, work)
        except amqp.Connection.recoverable_connection_errors as exc:
            log.warning('%s; connecting again', exc)
            await asyncio.sleep(1)


if __name__ == '__main__':
    logging.basicConfig(level=logging.INFO)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main(*sys.argv[1:]))
