"""Fixtures of the wire tests: a scripted peer, and connections that are torn down in any case."""

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
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., amqp.Connection]]:
    """Make connected connections; `collect` drops those that the test leaves open."""
    made: list[amqp.Connection] = []

    def make(host: str | None = None, **options: Any) -> amqp.Connection:
        cls = options.pop('cls', amqp.Connection)
        host = host or request.getfixturevalue('peer').host
        options = {'connect_timeout': 5, 'rpc_timeout': 5, **options}
        connection = cls(host, **options)
        made.append(connection)
        connection.connect()
        return connection

    for fixture in ('peer', 'small_window_peer'):  # so that they outlive the connections
        if fixture in request.fixturenames:
            request.getfixturevalue(fixture)
    yield make
    for connection in made:
        connection.collect()


@pytest.fixture
def small_window_peer() -> Iterator[Peer]:
    """A peer whose sockets take in little: a client blocks as soon as it stops reading."""
    with Peer(rcvbuf=4096) as listener:
        yield listener
