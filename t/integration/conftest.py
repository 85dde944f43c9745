"""A RabbitMQ node for all tests, one for each test that breaks its node, and what to use it by."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import amqp
from t.helpers.broker import Broker
from t.helpers.green import patched_by

#: Their work is done in other processes, which nobody has patched.
collect_ignore = (
    ['test_broker.py', 'test_celery.py', 'test_docs.py', 'test_docs_from_pika.py']
    if patched_by()
    else []
)


@pytest.fixture(scope='session')
def broker() -> Iterator[Broker]:
    """The node that the tests share, with TLS: not to be stopped, nor to be held up for long."""
    with Broker() as node:
        yield node


@pytest.fixture
def private_broker() -> Iterator[Broker]:
    """A node for one test alone, which may kill, suspend, block or restart it."""
    with Broker() as node:
        yield node


@pytest.fixture(scope='module')
def module_broker() -> Iterator[Broker]:
    """A node for one module, whose tests put right what they break: a start takes seconds."""
    with Broker() as node:
        yield node


@pytest.fixture
def connect(broker: Broker) -> Iterator[Callable[..., amqp.Connection]]:
    """Make connected connections; all are closed at the end, in whatever state the test left them.

    They go to the shared node unless a host is given.
    """
    with contextlib.ExitStack() as stack:

        def make(host: str | None = None, **options: Any) -> amqp.Connection:
            host = host or f'{broker.host}:{broker.port}'
            connection = amqp.Connection(host, **{'connect_timeout': 10, **options})
            stack.callback(_drop, connection)
            connection.connect()
            return connection

        yield make


@pytest.fixture
def connection(connect: Callable[..., amqp.Connection]) -> amqp.Connection:
    return connect()


@pytest.fixture
def channel(connection: amqp.Connection) -> amqp.Channel:
    return connection.channel()


@pytest.fixture
def name() -> str:
    """A name that no other test uses: for a queue or an exchange."""
    return f'test-{uuid.uuid4().hex}'


@pytest.fixture
def queue(broker: Broker, name: str) -> Iterator[str]:
    """The name of a durable queue on the shared node, which is deleted afterwards."""
    admin = amqp.Connection(f'{broker.host}:{broker.port}', connect_timeout=10)
    try:
        admin.connect()
        channel = admin.channel()
        channel.queue_declare(name, durable=True, auto_delete=False)
        yield name
        channel.queue_delete(name)
    finally:
        _drop(admin)


def _drop(connection: amqp.Connection) -> None:
    with contextlib.suppress(*amqp.Connection.connection_errors):
        connection.close()
    connection.collect()
