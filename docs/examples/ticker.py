"""Keep a connection's heartbeats up while this thread is busy."""

import threading
from contextlib import contextmanager, suppress

import amqp


@contextmanager
def ticking(connection):
    """Within the block, tick from a thread of its own."""
    done = threading.Event()

    def tick():
        with suppress(amqp.AMQPError):  # lost: the thread that works will see it too
            while not done.wait(1):
                connection.heartbeat_tick()

    thread = threading.Thread(target=tick, name='heartbeat', daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def with_heartbeats(connection, callback):
    """A consumer callback that may take its time."""

    def on_message(message):
        with ticking(connection):
            callback(message)

    return on_message
