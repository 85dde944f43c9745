"""Fixtures of the unit tests that need a connection: a peer that answers as a broker would."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import amqp
from t.helpers.peer import Peer, Wire
from t.helpers.streams import Stream
from t.helpers.threads import SOON


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


@pytest.fixture
def connection(peer: Peer, connect: Callable[..., amqp.Connection]) -> amqp.Connection:
    """A connection to a peer that answers as a broker would."""
    peer.serve()
    return connect()


@pytest.fixture
def channel(connection: amqp.Connection) -> amqp.Channel:
    """An open channel of it."""
    opened: amqp.Channel = connection.channel()
    return opened


@pytest.fixture
def wire(peer: Peer, channel: amqp.Channel) -> Wire:
    """The peer's end of it."""
    return peer.wire()


@pytest.fixture
def stream() -> Iterator[Stream]:
    """A transport and its peer, connected."""
    made = Stream()
    yield made
    made.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that listens on a free port of the loopback."""
    with socket.create_server(('127.0.0.1', 0)) as listening:
        listening.settimeout(SOON)
        yield listening
