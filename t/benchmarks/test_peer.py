"""The peer speaks AMQP: our own client gets along with it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing

import pytest

import amqp
from t.benchmarks.peer import HOST, Deliveries, PeerProcess, Script, frames
from t.benchmarks.samples import SAMPLES

Connect = Callable[[Script], AbstractContextManager[amqp.Connection]]


@pytest.fixture(scope='module')
def peer() -> Iterator[PeerProcess]:
    with PeerProcess() as process:
        yield process


@pytest.fixture
def connect(peer: PeerProcess) -> Connect:
    def connect(script: Script) -> AbstractContextManager[amqp.Connection]:
        connection = amqp.Connection(f'{HOST}:{peer.port}', virtual_host=script.encode())
        connection.connect()
        # Not `close`: the peer doesn't read it where it reads nothing any more.
        return closing(Collected(connection))

    return connect


class Collected:
    """A connection whose `close` says nothing to the broker."""

    def __init__(self, connection: amqp.Connection) -> None:
        self.connection = connection
        self.channel = connection.channel
        self.drain_events = connection.drain_events
        self.close = connection.collect


def receive(connection: amqp.Connection, count: int, ack: bool = False) -> list[amqp.Message]:
    channel = connection.channel()
    messages: list[amqp.Message] = []

    def on_message(message: amqp.Message) -> None:
        messages.append(message)
        if ack:
            channel.basic_ack(message.delivery_tag)

    channel.basic_consume('bench', consumer_tag='bench', no_ack=not ack, callback=on_message)
    while len(messages) < count:
        connection.drain_events(timeout=10)
    return messages


@pytest.mark.parametrize('sample', ['16 B', '1 KiB', 'Celery', '100 KiB'])
def test_delivers_without_end(connect: Connect, sample: str) -> None:
    count = 3 * Deliveries(SAMPLES[sample]).count if sample != '16 B' else 3000
    with connect(Script(sample=sample)) as connection:
        messages = receive(connection, count)
    assert [message.delivery_tag for message in messages] == list(range(1, count + 1))
    body = SAMPLES[sample].body
    assert {message.body for message in messages} == {body.decode() if sample == 'Celery' else body}


def test_delivers_what_celery_sends(connect: Connect) -> None:
    sample = SAMPLES['Celery']
    with connect(Script(sample='Celery')) as connection:
        messages = receive(connection, 3)
    for message, properties in zip(messages, sample.variants, strict=False):
        assert message.properties == properties


def test_delivers_so_many(connect: Connect) -> None:
    with connect(Script(sample='1 KiB', limit=2)) as connection:
        assert len(receive(connection, 2)) == 2
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.05)


def test_delivers_no_more_ahead_than_the_prefetch(connect: Connect) -> None:
    with connect(Script(prefetch=20)) as connection:
        messages = receive(connection, 20)
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.05)
    assert len(messages) == 20


def test_goes_on_where_acks_come(connect: Connect) -> None:
    with connect(Script(prefetch=20)) as connection:
        messages = receive(connection, 500, ack=True)
    assert [message.delivery_tag for message in messages] == list(range(1, 501))


def test_confirms_a_window_at_once(connect: Connect) -> None:
    confirmed: list[int] = []
    with connect(Script(window=3)) as connection:
        channel = connection.channel()
        channel.confirm_select()
        channel.events['basic_ack'].add(lambda tag, multiple: confirmed.append(tag))
        for _ in range(4):
            channel.basic_publish(amqp.Message(b'x' * 1024), routing_key='bench')
        while len(confirmed) < 3:
            connection.drain_events(timeout=10)
    assert confirmed == [1, 2, 3]


def test_confirms_one_by_one(connect: Connect) -> None:
    with connect(Script(window=1)) as connection:
        channel = connection.channel()
        for _ in range(3):
            channel.basic_publish_confirm(amqp.Message(b'x'), routing_key='bench', timeout=10)


def test_answers(connect: Connect) -> None:
    with connect(Script(sample='1 KiB')) as connection:
        channel = connection.channel()
        assert channel.queue_declare('bench', passive=True).queue == 'bench'
        assert channel.basic_get('bench', no_ack=True).body == SAMPLES['1 KiB'].body


def test_reads_what_is_published_and_keeps_quiet(connect: Connect) -> None:
    with connect(Script(sink=True)) as connection:
        channel = connection.channel()
        for _ in range(20):
            channel.basic_publish(amqp.Message(SAMPLES['100 KiB'].body), routing_key='bench')


def test_tags_of_many_octets() -> None:
    deliveries = Deliveries(SAMPLES['Celery'])
    first = (1 << 40) - 2
    deliveries.last = first - 1
    block = deliveries.following()
    methods = [block[begin:end] for kind, _, begin, end in frames(block) if kind == 1]
    tags = [struct.unpack_from('>Q', method, 4 + 6)[0] for method in methods]
    assert tags == list(range(first, first + deliveries.count))
