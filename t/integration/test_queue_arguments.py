"""RabbitMQ takes the arguments that the helpers make, and acts upon them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

import amqp
from amqp import queue_arguments as args
from t.integration.support import bodies, consume, drain_until, publish, ready, receive, until

pytestmark = pytest.mark.integration

Connect = Callable[..., amqp.Connection]


def declare(channel: amqp.Channel, name: str, arguments: dict[str, object]) -> str:
    channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
    return name


@pytest.fixture
def deleted(channel: amqp.Channel, name: str):
    """A name for a queue that is deleted in the end."""
    yield f'{name}-with-arguments'
    channel.queue_delete(f'{name}-with-arguments')


@pytest.mark.parametrize(
    'arguments',
    [
        args.message_ttl(60) | args.expires(60),
        args.max_length(10, max_bytes=1000, overflow='reject-publish-dlx'),
        args.max_priority(10),
        args.single_active_consumer(),
        args.lazy(),
        args.dead_letter('amq.fanout', 'key'),
        args.quorum(delivery_limit=3, group_size=1)
        | args.dead_letter('', 'key', strategy='at-least-once')
        | args.max_length(10, overflow='reject-publish'),
        args.stream(max_bytes=10**9, max_age=3600, segment_bytes=10**6, group_size=1),
    ],
)
def test_the_broker_takes_them(
    channel: amqp.Channel, deleted: str, arguments: dict[str, object]
) -> None:
    declare(channel, deleted, arguments)
    # What it has understood, it compares: declared otherwise is refused.
    with pytest.raises(amqp.PreconditionFailed, match='inequivalent arg'):
        declare(channel, deleted, {})
    declare(channel, deleted, arguments)


@pytest.mark.parametrize('locator', args.LOCATORS)
@pytest.mark.parametrize('kind', [args.quorum, args.stream])
def test_leader_locators(
    channel: amqp.Channel, deleted: str, kind: Callable[..., dict[str, object]], locator: str
) -> None:
    declare(channel, deleted, kind(leader_locator=locator))


def test_dead_letters_and_the_delivery_limit(
    channel: amqp.Channel, deleted: str, queue: str
) -> None:
    declare(channel, deleted, args.quorum(delivery_limit=2) | args.dead_letter('', queue))
    publish(channel, deleted, 'poison')
    messages = consume(channel, deleted)
    for _ in range(3):
        drain_until(channel.connection, lambda: messages)
        channel.basic_reject(messages.pop().delivery_tag, requeue=True)
    until(lambda: ready(channel, queue))
    [dead] = receive(channel, queue, no_ack=True)
    assert dead.body == 'poison'
    assert dead.headers['x-death'][0]['reason'] == 'delivery_limit'


def test_the_ttl_is_in_seconds(channel: amqp.Channel, deleted: str, queue: str) -> None:
    declare(channel, deleted, args.message_ttl(0.2) | args.dead_letter('', queue))
    began = time.monotonic()
    publish(channel, deleted, 'x')
    [dead] = receive(channel, queue, no_ack=True)
    assert 0.1 < time.monotonic() - began < 5
    assert dead.headers['x-death'][0]['reason'] == 'expired'


def test_an_unused_queue_goes(channel: amqp.Channel, name: str) -> None:
    declare(channel, name, args.expires(0.2))

    def is_gone() -> bool:
        time.sleep(0.3)  # a look counts as use
        try:
            channel.queue_declare(name, passive=True)
        except amqp.NotFound:
            return True
        return False

    until(is_gone)


@pytest.mark.parametrize(
    ('overflow', 'kept'),
    [(None, ['2', '3']), ('drop-head', ['2', '3']), ('reject-publish', ['1', '2'])],
)
def test_a_full_queue(
    channel: amqp.Channel, deleted: str, overflow: str | None, kept: list[str]
) -> None:
    declare(channel, deleted, args.max_length(2, overflow=overflow))
    publish(channel, deleted, '1', '2')
    if overflow == 'reject-publish':
        with pytest.raises(amqp.MessageNacked):
            publish(channel, deleted, '3')
    else:
        publish(channel, deleted, '3')
    assert bodies(receive(channel, deleted, 2, no_ack=True)) == kept


def test_a_queue_full_of_octets(channel: amqp.Channel, deleted: str) -> None:
    declare(channel, deleted, args.max_length(max_bytes=10, overflow='reject-publish'))
    publish(channel, deleted, b'x' * 10)
    with pytest.raises(amqp.MessageNacked):
        publish(channel, deleted, b'x')


def test_priorities(channel: amqp.Channel, deleted: str) -> None:
    declare(channel, deleted, args.max_priority(5))
    for priority in (1, 5, 3):
        publish(channel, deleted, str(priority), priority=priority)
    assert bodies(receive(channel, deleted, 3, no_ack=True)) == ['5', '3', '1']


def test_one_consumer_at_a_time(
    connection: amqp.Connection, channel: amqp.Channel, deleted: str
) -> None:
    declare(channel, deleted, args.single_active_consumer())
    active, idle = connection.channel(), connection.channel()
    first, second = consume(active, deleted), consume(idle, deleted)
    publish(channel, deleted, '1', '2')
    drain_until(connection, lambda: len(first) == 2)
    active.close()
    drain_until(connection, lambda: len(second) == 2)
    assert [message.delivery_info['redelivered'] for message in second] == [True, True]


def test_consumers_of_higher_priority_come_first(
    connection: amqp.Connection, channel: amqp.Channel, deleted: str
) -> None:
    declare(channel, deleted, {})
    low = consume(connection.channel(), deleted, arguments=args.consumer_priority(-1))
    high = consume(connection.channel(), deleted, arguments=args.consumer_priority(1))
    publish(channel, deleted, *'12345')
    drain_until(connection, lambda: len(high) == 5)
    assert not low


# -- streams


@pytest.fixture
def stream(channel: amqp.Channel, deleted: str) -> str:
    """A stream with messages 0..9."""
    declare(channel, deleted, args.stream(max_bytes=10**7))
    publish(channel, deleted, *map(str, range(10)))
    return deleted


def read(
    connection: amqp.Connection, stream: str, offset: object, count: int
) -> list[tuple[str, int]]:
    """Messages from an offset on, with the numbers that they have in the stream."""
    with connection.channel() as channel:
        channel.basic_qos(0, 100, False)
        found = receive(channel, stream, count, arguments=args.stream_offset(offset))
        return [(message.body, message.headers['x-stream-offset']) for message in found]


@pytest.mark.parametrize(('offset', 'begin'), [('first', 0), (0, 0), (7, 7), (9, 9)])
def test_where_a_stream_is_read_from(
    connection: amqp.Connection, stream: str, offset: object, begin: int
) -> None:
    expected = [(str(number), number) for number in range(begin, 10)]
    assert read(connection, stream, offset, 10 - begin) == expected


def test_the_last_of_a_stream(connection: amqp.Connection, stream: str) -> None:
    found = read(connection, stream, 'last', 1)
    assert found[-1] == ('9', 9)


def test_a_stream_from_a_time_on(connection: amqp.Connection, stream: str) -> None:
    now = datetime.now(timezone.utc)
    # The nearest chunk counts, and none is older than this.
    assert read(connection, stream, now - timedelta(hours=1), 10)[0] == ('0', 0)


def test_what_comes_next_in_a_stream(
    connection: amqp.Connection, channel: amqp.Channel, stream: str
) -> None:
    reader = connection.channel()
    reader.basic_qos(0, 10, False)
    messages = consume(reader, stream, arguments=args.stream_offset('next'))
    publish(channel, stream, 'news')
    drain_until(connection, lambda: messages)
    assert bodies(messages) == ['news']
