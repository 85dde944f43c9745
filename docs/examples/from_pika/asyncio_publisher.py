"""Publish within asyncio's event loop, and await the broker's confirms."""

import asyncio
import sys

import amqp


class Publisher:
    """Publishes on a connection of its own; `lost` tells when that is gone.

    At most *window* messages are under way at a time.
    """

    def __init__(self, connection, window=1000):
        self.loop = asyncio.get_running_loop()
        self.lost = self.loop.create_future()
        self.free = asyncio.Semaphore(window)
        self.connection = connection
        self.sock = connection.sock
        self.channel = connection.channel()
        self.channel.confirm_select()
        self.loop.add_reader(self.sock, self.on_readable)
        self.timer = self.loop.call_later(1, self.on_timer)

    async def publish(self, message, routing_key):
        """Return when the broker has the message; raises what became of it instead."""
        async with self.free:
            confirmed = self.loop.create_future()
            promise = self.channel.publish_async(message, routing_key=routing_key, mandatory=True)
            promise.then(confirmed.set_result, confirmed.set_exception)
            await asyncio.shield(confirmed)  # which comes, though the caller may give up

    def on_readable(self):
        try:
            while True:
                self.connection.drain_events(timeout=0)
        except TimeoutError:
            pass  # nothing more is there
        except amqp.AMQPError as exc:
            self.close(exc)

    def on_timer(self):
        self.timer = self.loop.call_later(1, self.on_timer)
        try:
            self.connection.heartbeat_tick()
        except amqp.AMQPError as exc:
            self.close(exc)

    def close(self, exc=None):
        if self.timer.cancelled():
            return  # it has been done before
        self.timer.cancel()
        self.loop.remove_reader(self.sock)
        if not self.lost.done():
            self.lost.set_result(exc)
        self.connection.close()


async def main(url='amqp://localhost:5672', queue='test', count=1000):
    connection = await asyncio.to_thread(amqp.connect, url, heartbeat=30)
    publisher = Publisher(connection)
    try:
        messages = [amqp.Message(f'message {number}', delivery_mode=2) for number in range(count)]
        await asyncio.gather(*(publisher.publish(message, queue) for message in messages))
        print(f'{count} messages confirmed')
    finally:
        publisher.close()


if __name__ == '__main__':
    asyncio.run(main(*sys.argv[1:]))
