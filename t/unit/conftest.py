"""Fixtures of the unit tests that need a connection: a peer that answers as a broker would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import amqp
from t.helpers.peer import Peer


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A scripted peer on the loopback; an error in its script fails the test at the end."""
    with Peer() as listener:
        yield listener


@pytest.fixture
def connect(peer: Peer) -> Iterator[Callable[..., amqp.Connection]]:
    """Make connections to the peer; those that the test leaves open are dropped."""
    made: list[amqp.Connection] = []

    def make(cls: type[amqp.Connection] = amqp.Connection, **options: Any) -> amqp.Connection:
        connection = cls(peer.host, **{'connect_timeout': 5, 'rpc_timeout': 5, **options})
        made.append(connection)
        connection.connect()
        return connection

    yield make
    for connection in made:
        connection.collect()
