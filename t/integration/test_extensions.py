"""What RabbitMQ adds to AMQP 0-9-1, seen through this library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

import amqp
from t.helpers.broker import Broker
from t.integration.support import (
    PATIENCE,
    bodies,
    consume,
    drain_until,
    publish,
    ready,
    receive,
    until,
)

pytestmark = pytest.mark.integration

Connect = Callable[..., amqp.Connection]
MakeQueue = Callable[..., str]


@pytest.fixture
def make_queue(connect: Connect, name: str) -> Iterator[MakeQueue]:
    """Declare durable queues, with arguments like ``x_max_length``; all go in the end."""
    admin = connect().channel()
    made: list[str] = []

    def make(suffix: str = '', **arguments: Any) -> str:
        queue = f'{name}{suffix}'
        arguments = {key.replace('_', '-'): value for key, value in arguments.items()}
        admin.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
        made.append(queue)
        return queue

    yield make
    for queue in made:
        admin.queue_delete(queue)


def fetch(channel: amqp.Channel, queue: str) -> amqp.Message:
    """A message that is about to come into the queue."""
    (message,) = receive(channel, queue, no_ack=True)
    return message


# -- publisher confirms


def test_confirmed_publishing(connect: Connect, queue: str) -> None:
    channel = connect(confirm_publish=True).channel()
    for number in range(20):
        assert channel.basic_publish(amqp.Message(str(number)), routing_key=queue) is None
        assert ready(channel, queue) == number + 1


def test_many_confirms_by_few_acks(channel: amqp.Channel, queue: str) -> None:
    """The broker settles several at once (``multiple``): each tag exactly once all the same."""
    channel.confirm_select()
    acks: list[tuple[int, bool]] = []
    channel.events['basic_ack'].add(lambda *ack: acks.append(ack))
    confirmations = [
        channel.basic_publish(amqp.Message(b'x' * 100, delivery_mode=2), routing_key=queue)
        for _ in range(1_000)
    ]
    settled: set[int] = set()
    while len(settled) < 1_000:
        drain_until(channel.connection, lambda: acks)
        tag, multiple = acks.pop(0)
        first = min(set(range(1, tag + 1)) - settled) if multiple else tag
        assert tag not in settled
        settled |= set(range(first, tag + 1))
    assert settled == set(range(1, 1_001))
    assert not acks
    assert all(confirmation.acknowledged for confirmation in confirmations)


def test_a_full_queue_refuses(connect: Connect, make_queue: MakeQueue) -> None:
    queue = make_queue(x_max_length=2, x_overflow='reject-publish')
    channel = connect(confirm_publish=True).channel()
    channel.basic_publish(amqp.Message('1'), routing_key=queue)
    channel.basic_publish(amqp.Message('2'), routing_key=queue)
    refused = amqp.Message('3')
    with pytest.raises(amqp.MessageNacked) as caught:
        channel.basic_publish(refused, routing_key=queue)
    assert caught.value.message is refused
    assert caught.value.delivery_tag == 3
    assert bodies(receive(channel, queue, 2, no_ack=True)) == ['1', '2']
    channel.basic_publish(amqp.Message('4'), routing_key=queue)


def test_nack_events(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    queue = make_queue(x_max_length=1, x_overflow='reject-publish')
    channel.confirm_select()
    acked: list[int] = []
    nacked: list[int] = []
    channel.events['basic_ack'].add(lambda tag, multiple: acked.append(tag))
    channel.events['basic_nack'].add(lambda tag, multiple: nacked.append(tag))
    for tag in (1, 2, 3):
        channel.basic_publish(amqp.Message(str(tag)), routing_key=queue)
        while tag not in acked + nacked:
            channel.connection.drain_events(timeout=PATIENCE)
    assert (acked, nacked) == ([1], [2, 3])


def test_nobody_takes_a_mandatory_message(connect: Connect, name: str) -> None:
    channel = connect(confirm_publish=True).channel()
    lost = amqp.Message('lost', message_id='7')
    with pytest.raises(amqp.NoRoute) as caught:
        channel.basic_publish(lost, 'amq.direct', name, mandatory=True)
    error = caught.value
    assert (error.reply_code, error.reply_text) == (312, 'NO_ROUTE')
    assert (error.exchange, error.routing_key) == ('amq.direct', name)
    assert (error.message.body, error.message.message_id) == ('lost', '7')
    # The channel goes on, and the return is not taken for the next message's.
    channel.queue_declare(name, exclusive=True)
    channel.basic_publish(amqp.Message('found'), routing_key=name, mandatory=True)
    assert fetch(channel, name).body == 'found'


def test_a_handler_of_returns(connect: Connect, name: str) -> None:
    channel = connect(confirm_publish=True).channel()
    returned: list[Any] = []
    channel.events['basic_return'].add(lambda *args: returned.append(args))
    channel.basic_publish(amqp.Message('lost'), 'amq.direct', name, mandatory=True)
    drain_until(channel.connection, lambda: returned)
    ((error, exchange, routing_key, message),) = returned
    assert isinstance(error, amqp.NoRoute)
    assert (exchange, routing_key, message.body) == ('amq.direct', name, 'lost')


def test_returns_without_confirms(channel: amqp.Channel, name: str) -> None:
    channel.basic_publish(amqp.Message('lost'), 'amq.direct', name, mandatory=True)
    with pytest.raises(amqp.NoRoute) as caught:
        channel.connection.drain_events(timeout=PATIENCE)
    assert caught.value.message.body == 'lost'
    assert channel.is_open
    returned: list[Any] = []
    channel.events['basic_return'].add(lambda *args: returned.append(args))
    channel.basic_publish(amqp.Message('lost too'), 'amq.direct', name, mandatory=True)
    drain_until(channel.connection, lambda: returned)


# -- consumers


def test_the_broker_cancels(connect: Connect, channel: amqp.Channel, make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue('-other')
    cancelled: list[str] = []
    tag = channel.basic_consume(queue, callback=print, on_cancel=cancelled.append)
    messages = consume(channel, other, no_ack=True)
    admin = connect().channel()
    admin.queue_delete(queue)
    drain_until(channel.connection, lambda: cancelled)
    assert cancelled == [tag]
    assert tag not in channel.callbacks
    # Nothing else has changed.
    publish(admin, other, 'x')
    drain_until(channel.connection, lambda: messages)
    assert channel.is_open


def test_the_broker_cancels_and_nobody_asked_to_be_told(
    connect: Connect, channel: amqp.Channel, make_queue: MakeQueue
) -> None:
    queue = make_queue()
    tag = channel.basic_consume(queue, callback=print)
    connect().channel().queue_delete(queue)
    with pytest.raises(amqp.ConsumerCancelled, match=tag):
        channel.connection.drain_events(timeout=PATIENCE)
    make_queue()
    assert consume(channel, queue) == []
    assert channel.is_open


def test_prefetch_for_each_consumer(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    queue = make_queue()
    channel.basic_qos(0, 2, False)
    consumers = [consume(channel, queue), consume(channel, queue)]
    publish(channel, queue, *'abcdefgh')
    drain_until(channel.connection, lambda: sum(map(len, consumers)) == 4)
    assert [len(messages) for messages in consumers] == [2, 2]
    assert ready(channel, queue) == 4


def test_prefetch_for_all_consumers_together(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    queue = make_queue()
    channel.basic_qos(0, 3, True)
    consumers = [consume(channel, queue), consume(channel, queue)]
    publish(channel, queue, *'abcdefgh')
    drain_until(channel.connection, lambda: sum(map(len, consumers)) == 3)
    assert ready(channel, queue) == 5
    channel.basic_ack(0, multiple=True)
    drain_until(channel.connection, lambda: sum(map(len, consumers)) == 6)
    assert ready(channel, queue) == 2


def test_consumer_priorities(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    queue = make_queue()
    channel.basic_qos(0, 2, False)
    low = consume(channel, queue, arguments={'x-priority': -1})
    high = consume(channel, queue, arguments={'x-priority': 10})
    publish(channel, queue, *'abc')
    drain_until(channel.connection, lambda: len(low) + len(high) == 3)
    assert (bodies(high), bodies(low)) == (['a', 'b'], ['c'])


def test_an_exclusive_consumer(
    connect: Connect, channel: amqp.Channel, make_queue: MakeQueue
) -> None:
    queue = make_queue()
    tag = channel.basic_consume(queue, exclusive=True)
    other = connect().channel()
    with pytest.raises(amqp.AccessRefused, match='exclusive'):
        other.basic_consume(queue)
    channel.basic_cancel(tag)
    assert other.basic_consume(queue)
    with pytest.raises(amqp.AccessRefused, match='exclusive'):
        channel.basic_consume(queue, exclusive=True)


def test_a_single_active_consumer(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    queue = make_queue(x_single_active_consumer=True)
    first = consume(channel, queue, consumer_tag='first', no_ack=True)
    second = consume(channel, queue, consumer_tag='second', no_ack=True)
    publish(channel, queue, *'abc')
    drain_until(channel.connection, lambda: len(first) == 3)
    channel.basic_cancel('first')
    publish(channel, queue, 'd')
    drain_until(channel.connection, lambda: second)
    assert bodies(first) == ['a', 'b', 'c']
    assert bodies(second) == ['d']


def test_direct_reply_to(connect: Connect, make_queue: MakeQueue) -> None:
    requests = make_queue()
    client, server = connect(), connect()

    def answer(request: amqp.Message) -> None:
        reply = amqp.Message(request.body.upper(), correlation_id=request.correlation_id)
        request.channel.basic_publish(reply, routing_key=request.reply_to)

    server.channel().basic_consume(requests, no_ack=True, callback=answer)
    channel = client.channel()
    replies = consume(channel, 'amq.rabbitmq.reply-to', no_ack=True)
    request = amqp.Message('hello', reply_to='amq.rabbitmq.reply-to', correlation_id='1')
    channel.basic_publish(request, routing_key=requests)
    server.drain_events(timeout=PATIENCE)
    drain_until(client, lambda: replies)
    assert (replies[0].body, replies[0].correlation_id) == ('HELLO', '1')


def test_direct_reply_to_needs_a_consumer_that_does_not_acknowledge(channel: amqp.Channel) -> None:
    with pytest.raises(amqp.PreconditionFailed, match=r'cannot acknowledge|reply consumer'):
        channel.basic_consume('amq.rabbitmq.reply-to')
    with pytest.raises(amqp.PreconditionFailed, match=r'does not exist|reply consumer'):
        message = amqp.Message('x', reply_to='amq.rabbitmq.reply-to')
        channel.basic_publish_confirm(message, routing_key='nobody')


def test_a_consumer_that_acknowledges_too_late(
    connect: Connect, broker: Broker, make_queue: MakeQueue
) -> None:
    """The broker closes that channel, after ``consumer_timeout``, and nothing else."""
    queue, other = make_queue(), make_queue('-other')
    before = broker.ctl('eval', 'application:get_env(rabbit, consumer_timeout).').strip()
    assert before.startswith('{ok,')
    before = before[len('{ok,') : -1]
    # Channels take these over as they are opened; the two are as low as tests need.
    broker.ctl(
        'eval',
        'application:set_env(rabbit, consumer_timeout, 300), '
        'application:set_env(rabbit, channel_tick_interval, 100).',
    )
    try:
        connection = connect()
        slow, brisk = connection.channel(), connection.channel()
        late = consume(slow, queue)
        prompt = consume(brisk, other)
        publish(brisk, queue, 'x')
        publish(brisk, other, 'y')
        drain_until(connection, lambda: late and prompt)
        brisk.basic_ack(prompt[0].delivery_tag)
        with pytest.raises(amqp.PreconditionFailed, match=r'timeout|timed out') as caught:
            drain_until(connection, lambda: False)
        assert caught.value.reply_code == 406
    finally:
        broker.ctl(
            'eval',
            f'application:set_env(rabbit, consumer_timeout, {before}), '
            'application:set_env(rabbit, channel_tick_interval, 60000).',
        )
    # The late acknowledgement finds nothing to acknowledge, and says so.
    with pytest.raises(amqp.RecoverableChannelError, match='requeued'):
        late[0].channel.basic_ack(late[0].delivery_tag)
    publish(brisk, other, 'z')
    drain_until(connection, lambda: len(prompt) == 2)
    assert fetch(slow, queue).delivery_info['redelivered'] is True


# -- kinds of queues


def test_a_quorum_queue(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    dead = make_queue('-dead')
    queue = make_queue(
        x_queue_type='quorum',
        x_delivery_limit=2,
        x_dead_letter_exchange='',
        x_dead_letter_routing_key=dead,
    )
    publish(channel, queue, 'poison', delivery_mode=2)
    counts = []
    for _ in range(3):
        (message,) = receive(channel, queue)
        counts.append((message.headers or {}).get('x-delivery-count'))
        channel.basic_nack(message.delivery_tag, requeue=True)
    assert counts == [None, 1, 2]
    assert fetch(channel, dead).headers['x-death'][0]['reason'] == 'delivery_limit'
    publish(channel, queue, 'fine')
    (message,) = receive(channel, queue)
    channel.basic_ack(message.delivery_tag)
    until(lambda: ready(channel, queue) == 0)


def test_dead_letters_at_least_once(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    dead = make_queue('-dead')
    queue = make_queue(
        x_queue_type='quorum',
        x_overflow='reject-publish',
        x_dead_letter_strategy='at-least-once',
        x_dead_letter_exchange='',
        x_dead_letter_routing_key=dead,
    )
    publish(channel, queue, 'a', 'b', delivery_mode=2)
    for message in receive(channel, queue, 2):
        channel.basic_reject(message.delivery_tag, requeue=False)
    letters = receive(channel, dead, 2, no_ack=True)
    assert sorted(bodies(letters)) == ['a', 'b']
    assert {letter.headers['x-death'][0]['reason'] for letter in letters} == {'rejected'}


def test_quorum_queues_have_no_prefetch_in_common(
    broker: Broker, channel: amqp.Channel, make_queue: MakeQueue
) -> None:
    queue = make_queue(x_queue_type='quorum')
    channel.basic_qos(0, 1, True)
    with pytest.raises(amqp.AMQPNotImplementedError, match='global qos') as caught:
        channel.basic_consume(queue)
    assert caught.value.reply_code == 540


@pytest.fixture
def stream(channel: amqp.Channel, make_queue: MakeQueue) -> str:
    """A stream with the messages 0 to 9 in it."""
    stream = make_queue(x_queue_type='stream')
    publish(channel, stream, *map(str, range(10)))
    return stream


@pytest.mark.parametrize(
    ('offset', 'first'), [('first', 0), (0, 0), (4, 4), ('last', None), ('next', None)]
)
def test_a_stream_from_an_offset(
    connect: Connect, stream: str, offset: Any, first: int | None
) -> None:
    connection = connect()
    channel = connection.channel()
    channel.basic_qos(0, 100, False)
    messages = consume(channel, stream, arguments={'x-stream-offset': offset})
    if offset == 'next':
        publish(channel, stream, 'new')
        drain_until(connection, lambda: messages)
        assert bodies(messages) == ['new']
        return
    drain_until(connection, lambda: messages and messages[-1].body == '9')
    offsets = [message.headers['x-stream-offset'] for message in messages]
    assert bodies(messages) == [str(number) for number in offsets]
    if first is not None:
        assert offsets == list(range(first, 10))
    for message in messages:
        channel.basic_ack(message.delivery_tag)


def test_a_stream_from_a_time(connect: Connect, stream: str) -> None:
    for since in (datetime(2020, 1, 1), datetime(2020, 1, 1, tzinfo=timezone.utc)):
        channel = connect().channel()
        channel.basic_qos(0, 10, False)
        messages = consume(channel, stream, arguments={'x-stream-offset': since})
        while len(messages) < 10:
            channel.connection.drain_events(timeout=PATIENCE)
        assert bodies(messages) == [str(number) for number in range(10)]


def test_a_stream_demands_a_prefetch_and_acknowledgements(
    connect: Connect, channel: amqp.Channel, stream: str
) -> None:
    with pytest.raises(amqp.PreconditionFailed, match='prefetch count is not set'):
        channel.basic_consume(stream)
    with pytest.raises(amqp.AMQPNotImplementedError, match=r'basic.get not supported'):
        connect().channel().basic_get(stream)
    channel.basic_qos(0, 10, False)
    with pytest.raises(amqp.AMQPNotImplementedError, match=r'no_ack|automatic ack'):
        channel.basic_consume(stream, no_ack=True)


def test_message_priorities(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    queue = make_queue(x_max_priority=5)
    for priority in (1, 5, 3):
        publish(channel, queue, str(priority), priority=priority)
    assert bodies(receive(channel, queue, 3, no_ack=True)) == ['5', '3', '1']


# -- what becomes of messages


def test_dead_letters(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    dead = make_queue('-dead')
    queue = make_queue(x_dead_letter_exchange='amq.direct', x_dead_letter_routing_key=dead)
    channel.queue_bind(dead, 'amq.direct', dead)
    publish(channel, queue, 'x', application_headers={'mine': 1}, correlation_id='c')
    (message,) = receive(channel, queue)
    channel.basic_nack(message.delivery_tag, requeue=False)
    letter = fetch(channel, dead)
    assert (letter.body, letter.correlation_id, letter.headers['mine']) == ('x', 'c', 1)
    (death,) = letter.headers['x-death']
    died = death.pop('time')
    assert isinstance(died, datetime)
    assert death == {
        'count': 1,
        'exchange': '',
        'queue': queue,
        'reason': 'rejected',
        'routing-keys': [queue],
    }
    assert letter.headers['x-first-death-queue'] == queue
    # What the broker wrote, we write again.
    publish(channel, queue, 'again', application_headers=letter.headers)
    (message,) = receive(channel, queue)
    assert message.headers == letter.headers
    channel.basic_reject(message.delivery_tag, requeue=False)
    assert fetch(channel, dead).headers['x-death'][0]['queue'] == queue


def test_messages_expire(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    dead = make_queue('-dead')
    to_dead = {'x_dead_letter_exchange': '', 'x_dead_letter_routing_key': dead}
    publish(channel, make_queue('-1', **to_dead), 'each', expiration='1')
    publish(channel, make_queue('-2', x_message_ttl=1, **to_dead), 'all')
    letters = {letter.body: letter for letter in receive(channel, dead, 2, no_ack=True)}
    assert {letter.headers['x-death'][0]['reason'] for letter in letters.values()} == {'expired'}
    assert letters['each'].headers['x-death'][0]['original-expiration'] == '1'
    assert 'expiration' not in letters['each'].properties
    with pytest.raises(amqp.PreconditionFailed, match='invalid expiration'):
        publish(channel, dead, 'x', expiration='soon')


def test_a_queue_expires(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    queue = make_queue(x_expires=1)

    def gone() -> bool:
        with suppress(amqp.NotFound):
            channel.basic_get(queue)
            return False
        return True

    until(gone)


def test_queue_length_limits(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    dead = make_queue('-dead')
    to_dead = {'x_dead_letter_exchange': '', 'x_dead_letter_routing_key': dead}
    queue = make_queue('-1', x_max_length=2, **to_dead)
    publish(channel, queue, *'abc')
    assert bodies(receive(channel, queue, 2, no_ack=True)) == ['b', 'c']
    letter = fetch(channel, dead)
    assert (letter.body, letter.headers['x-death'][0]['reason']) == ('a', 'maxlen')
    queue = make_queue('-2', x_max_length_bytes=10)
    publish(channel, queue, b'x' * 10, b'y' * 6)
    assert bodies(receive(channel, queue, no_ack=True)) == [b'y' * 6]
    queue = make_queue('-3', x_max_length=1, x_overflow='reject-publish-dlx', **to_dead)
    publish(channel, queue, 'kept')
    with pytest.raises(amqp.MessageNacked):
        publish(channel, queue, 'refused')
    assert fetch(channel, dead).body == 'refused'


def test_an_alternate_exchange(channel: amqp.Channel, make_queue: MakeQueue, name: str) -> None:
    lost = make_queue()
    channel.exchange_declare(f'{name}-lost', 'fanout')
    channel.queue_bind(lost, f'{name}-lost')
    channel.exchange_declare(name, 'direct', arguments={'alternate-exchange': f'{name}-lost'})
    message = amqp.Message('found anyway')
    channel.basic_publish_confirm(message, name, 'nobody', mandatory=True)
    message = fetch(channel, lost)
    assert (message.body, message.delivery_info['exchange']) == ('found anyway', name)
    channel.exchange_delete(name)


def test_carbon_copies(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    queues = [make_queue(f'-{number}') for number in range(3)]
    headers = {'CC': [queues[1]], 'BCC': [queues[2]], 'x': 1}
    publish(channel, queues[0], 'to all', application_headers=headers)
    for queue in queues:
        message = fetch(channel, queue)
        assert (message.body, message.headers) == ('to all', {'CC': [queues[1]], 'x': 1})


def test_a_user_id_that_is_not_ours(channel: amqp.Channel, queue: str) -> None:
    publish(channel, queue, 'x', user_id='guest')
    assert channel.basic_get(queue, no_ack=True).user_id == 'guest'
    with pytest.raises(amqp.PreconditionFailed, match='user_id'):
        publish(channel, queue, 'x', user_id='somebody')


def test_exchanges_behind_exchanges(
    channel: amqp.Channel, make_queue: MakeQueue, name: str
) -> None:
    queue = make_queue()
    chain = [f'{name}-{number}' for number in range(3)]
    for exchange in chain:
        channel.exchange_declare(exchange, 'topic')
    for source, destination in pairwise(chain):
        channel.exchange_bind(destination, source, 'a.#')
    channel.queue_bind(queue, chain[-1], '*.b')
    for key in ('a.b', 'a.c', 'c.b'):
        channel.basic_publish_confirm(amqp.Message(key), chain[0], key)
    assert bodies(receive(channel, queue, no_ack=True)) == ['a.b']
    assert ready(channel, queue) == 0


# -- tables

VALUES: dict[str, Any] = {
    'none': None,
    'true': True,
    'false': False,
    'zero': 0,
    'negative': -1,
    'int32': 2**31 - 1,
    'above int32': 2**31,
    'above uint32': 2**32,
    'int64': 2**63 - 1,
    'least int64': -(2**63),
    'float': 1.5,
    'small float': 5e-324,
    'decimal': Decimal('-12345.678'),
    'text': 'größe 漢字 \U0001f407',
    'empty': '',
    'long': 'x' * 70_000,
    'octets': b'\x00\xfe\xff',
    'time': datetime(2026, 2, 3, 4, 5, 6),
    'list': [1, 'two', None, [3.5, {'deep': b'\xff'}], []],
    'table': {'a': {'b': {'c': [{'d': True}]}}, 'empty': {}},
    'k' * 255: 'the longest key',
    'schlüssel': 'a key beyond ASCII',
}


def test_headers_come_back_as_they_were(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    """As sent; and after the broker has read and written them, for it adds to a dead letter's."""
    dead = make_queue('-dead')
    queue = make_queue(x_dead_letter_exchange='', x_dead_letter_routing_key=dead)
    publish(channel, queue, 'x', application_headers=VALUES)
    (message,) = receive(channel, queue)
    assert_same(message.headers, VALUES)
    channel.basic_reject(message.delivery_tag, requeue=False)
    letter = fetch(channel, dead)
    assert_same({key: letter.headers[key] for key in VALUES}, VALUES)


def test_a_headers_exchange_matches_each_type(
    broker: Broker, channel: amqp.Channel, name: str, make_queue: MakeQueue
) -> None:
    """The broker compares an argument of ours with a header of ours: both mean the same to it."""
    queue = make_queue()
    values = {key: value for key, value in VALUES.items() if value is not None}
    if broker.version >= (4,):
        # RabbitMQ 4.0 takes a header's timestamp to milliseconds, not so an argument's.
        del values['time']
    channel.exchange_declare(name, 'headers')
    channel.queue_bind(queue, name, arguments={'x-match': 'all', **values})
    channel.basic_publish_confirm(amqp.Message('x', application_headers=values), name)
    assert_same(fetch(channel, queue).headers, values)
    for key in values:
        others = {**values, key: 'another'}
        channel.basic_publish_confirm(amqp.Message('x', application_headers=others), name)
    assert channel.basic_get(queue) is None


def assert_same(one: Any, other: Any) -> None:
    """Equal, and of the same types: True is not 1."""
    assert type(one) is type(other)
    assert one == other
    if isinstance(one, dict):
        assert list(one) == list(other) or set(one) == set(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)


class Foreign(amqp.Message):
    """A message with headers in types that this library reads and doesn't write."""

    FIELDS = {
        'b': (b'b\xff', -1),
        'B': (b'B\xff', 255),
        's': (b's\xff\xfe', -2),
        'u': (b'u\xff\xff', 65_535),
        'I': (b'I\xff\xff\xff\xff', -1),
        'i': (b'i\xff\xff\xff\xff', 2**32 - 1),
        'l': (b'l' + b'\xff' * 8, -1),
        'L': (b'L' + b'\x7f' + b'\xff' * 7, 2**63 - 1),
        'f': (b'f\x3f\xc0\x00\x00', 1.5),
        'd': (b'd\x3f\xf8\x00\x00\x00\x00\x00\x00', 1.5),
        'D': (b'D\x02\x00\x00\x01\x00', Decimal('2.56')),
        't': (b't\x01', True),
        'x': (b'x\x00\x00\x00\x02ab', b'ab'),
        'S': (b'S\x00\x00\x00\x02ab', 'ab'),
        'T': (b'T' + bytes(7) + b'\x01', datetime(1970, 1, 1, 0, 0, 1)),
        'V': (b'V', None),
    }

    def _serialize_properties(self) -> bytes:
        fields = b''.join(
            b'\x01' + name.encode() + octets for name, (octets, _) in self.FIELDS.items()
        )
        return b'\x20\x00' + len(fields).to_bytes(4, 'big') + fields


def test_types_that_other_clients_write(channel: amqp.Channel, make_queue: MakeQueue) -> None:
    dead = make_queue('-dead')
    queue = make_queue(x_dead_letter_exchange='', x_dead_letter_routing_key=dead)
    channel.basic_publish_confirm(Foreign('x'), routing_key=queue)
    expected = {name: value for name, (_, value) in Foreign.FIELDS.items()}
    (message,) = receive(channel, queue)
    assert_same(message.headers, expected)
    channel.basic_reject(message.delivery_tag, requeue=False)
    letter = fetch(channel, dead)
    assert_same({name: letter.headers[name] for name in expected}, expected)


def test_what_the_broker_does_not_understand_is_not_sent(channel: amqp.Channel, queue: str) -> None:
    for value in (float('nan'), float('inf'), 2**63, object(), Decimal('1e-256')):
        message = amqp.Message('x', application_headers={'outer': [{'bad': value}]})
        with pytest.raises(amqp.EncodeError, match=r'outer.*bad'):
            channel.basic_publish(message, routing_key=queue)
    publish(channel, queue, 'x')
    assert ready(channel, queue) == 1


# -- sizes


@pytest.mark.parametrize('frame_max', [4_096, 8_192, 131_072])
def test_bodies_around_frame_max(
    connect: Connect, broker: Broker, queue: str, frame_max: int
) -> None:
    if frame_max == 4_096 and broker.version >= (4, 1):
        # From 4.1 RabbitMQ refuses a client that takes less than 8192.
        with pytest.raises((amqp.ConnectionError, OSError)):
            connect(frame_max=frame_max)
        return
    connection = connect(frame_max=frame_max, confirm_publish=True)
    assert connection.frame_max == frame_max
    channel = connection.channel()
    sizes = [count * (frame_max - 8) + extra for count in (1, 2) for extra in range(-2, 11)]
    messages = consume(channel, queue, no_ack=True)
    for size in sizes:
        channel.basic_publish(amqp.Message(pattern(size)), routing_key=queue)
    drain_until(connection, lambda: len(messages) == len(sizes))
    assert [len(message.body) for message in messages] == sizes
    assert all(message.body == pattern(len(message.body)) for message in messages)


def pattern(size: int) -> bytes:
    """Octets in which a piece that is missing, or comes twice, shows."""
    block = b''.join(number.to_bytes(4, 'big') for number in range(min(size, 65_536) // 4 + 1))
    return (block * (size // len(block) + 1))[:size]


def test_headers_that_no_frame_holds(connect: Connect, queue: str) -> None:
    channel = connect(frame_max=8_192).channel()
    with pytest.raises(amqp.EncodeError, match='frame_max 8192'):
        channel.basic_publish(
            amqp.Message('x', application_headers={'a': 'x' * 8_192}), routing_key=queue
        )
    with pytest.raises(amqp.EncodeError, match=r'Queue\.Declare.*frame_max 8192'):
        channel.queue_declare(queue, arguments={'a': 'x' * 8_192})
    publish(channel, queue, 'x')


@pytest.mark.parametrize('size', [0, 1])
def test_small_bodies(channel: amqp.Channel, queue: str, size: int) -> None:
    publish(channel, queue, b'x' * size)
    assert channel.basic_get(queue, no_ack=True).body == b'x' * size


def test_large_bodies(connect: Connect, broker: Broker, queue: str) -> None:
    # RabbitMQ takes 128 MiB by default; from 4.0 on 16 MiB.
    size = (64 if broker.version < (4,) else 16) * 2**20
    body = pattern(size)
    connection = connect(confirm_publish=True)
    channel = connection.channel()
    channel.basic_publish(amqp.Message(body), routing_key=queue)
    message = channel.basic_get(queue, no_ack=True)
    assert message.body == body


def test_a_body_that_is_larger_than_we_accept(connect: Connect, queue: str) -> None:
    publisher = connect().channel()
    publish(publisher, queue, b'x' * 1_000, b'x' * 1_001)
    connection = connect(max_message_size=1_000)
    channel = connection.channel()
    assert len(channel.basic_get(queue, no_ack=True).body) == 1_000
    with pytest.raises(amqp.FrameError, match=r'1001 octets.*max_message_size is 1000'):
        channel.basic_get(queue, no_ack=True)
    assert not connection.connected
