"""A first look at amqp: connect, publish with confirms, consume, acknowledge.

AMQP_URL=amqp://guest:guest@localhost:5672// python extra/demo.py
"""

from __future__ import annotations

import os
import ssl
import time

import amqp

COUNT = 10_000


def show(title: str, **facts: object) -> None:
    print(f'\n{title}')
    for name, value in facts.items():
        print(f'  {name:<12} {value}')


def show_negotiated(connection: amqp.Connection) -> None:
    server = connection.server_properties
    cipher = connection.sock.cipher() if isinstance(connection.sock, ssl.SSLSocket) else None
    show(
        'Connected',
        client=f'amqp {amqp.__version__}, {amqp.speedups} build',
        server=f'{server["product"]} {server["version"]}',
        frame_max=f'{connection.frame_max} octets',
        channel_max=connection.channel_max,
        heartbeat=f'{connection.heartbeat} s',
        tls=f'{cipher[1]}, {cipher[0]}' if cipher else 'none',
    )


def show_message(message: amqp.Message) -> None:
    """A consumer's callback: do the work, then acknowledge."""
    show(
        f'Received {message.body!r}',
        properties=message.properties,
        delivered=message.delivery_info,
    )
    message.channel.basic_ack(message.delivery_tag)


def publish_a_few(channel: amqp.Channel, queue: str) -> None:
    """Each call returns when the broker has taken responsibility for the message."""
    for number, body in enumerate(('hello', 'grüß dich', b'\x00\x01\x02')):
        headers = {'number': number, 'nested': {'list': [1, 2.5, True, None]}}
        message = amqp.Message(body, content_type='text/plain', application_headers=headers)
        channel.basic_publish_confirm(message, routing_key=queue)


def consume_a_few(connection: amqp.Connection, channel: amqp.Channel, queue: str) -> None:
    """The callback is called from `drain_events`, once for each message."""
    tag = channel.basic_consume(queue, callback=show_message)
    for _ in range(3):
        connection.drain_events(timeout=5)
    channel.basic_cancel(tag)


def publish_many(connection: amqp.Connection, channel: amqp.Channel, queue: str) -> float:
    """Publish without waiting for each confirm; return when the last one is in: seconds taken."""
    message = amqp.Message(b'x' * 1024)
    started = time.monotonic()
    pending = [channel.basic_publish(message, routing_key=queue) for _ in range(COUNT)]
    for confirmation in pending:
        while not confirmation.settled():
            connection.drain_events(timeout=5)
    assert all(confirmation.acknowledged for confirmation in pending)
    return time.monotonic() - started


def consume_many(connection: amqp.Connection, channel: amqp.Channel, queue: str) -> float:
    """Consume with an ack for every hundred messages: seconds taken."""
    received = 0
    started = time.monotonic()

    def on_message(message: amqp.Message) -> None:
        nonlocal received
        received += 1
        if received % 100 == 0:
            channel.basic_ack(message.delivery_tag, multiple=True)

    channel.basic_qos(prefetch_size=0, prefetch_count=500, a_global=False)
    channel.basic_consume(queue, callback=on_message)
    while received < COUNT:
        connection.drain_events(timeout=5)
    return time.monotonic() - started


def main(url: str) -> None:
    with amqp.connect(url, timeout=10, heartbeat=30) as connection:
        show_negotiated(connection)

        channel = connection.channel()
        channel.confirm_select()
        queue = channel.queue_declare(exclusive=True, auto_delete=False).queue
        publish_a_few(channel, queue)
        consume_a_few(connection, channel, queue)

        published = publish_many(connection, channel, queue)
        consumed = consume_many(connection, channel, queue)
        show(
            f'{COUNT:,} messages of 1 KiB',
            published=f'{COUNT / published:,.0f} messages/s, each confirmed',
            consumed=f'{COUNT / consumed:,.0f} messages/s, each acknowledged',
        )


if __name__ == '__main__':
    main(os.environ.get('AMQP_URL', 'amqp://guest:guest@localhost:5672//'))
