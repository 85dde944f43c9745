"""The broker says why it closes the connection, and is gone at once: its words are what is told."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any

import pytest
from pamqp import commands

import amqp
from amqp import Message
from t.helpers.peer import Peer, Wire
from t.wire.support import SOON, Background

Connect = Callable[..., amqp.Connection]


def go(wire: Wire) -> None:
    """As RabbitMQ ends a connection when it stops: a method, and no waiting for the answer."""
    wire.send(0, commands.Connection.Close(320, 'CONNECTION_FORCED - shutdown', 0, 0))
    wire.reset()


def broken(connection: amqp.Connection) -> None:
    """Wait until the kernel knows that nothing can be sent any more."""
    poll = select.poll()
    poll.register(connection.sock, 0)
    assert poll.poll(SOON * 1000)


USES: dict[str, Callable[[amqp.Connection, amqp.Channel], Any]] = {
    'drain': lambda connection, channel: connection.drain_events(timeout=SOON),
    'poll': lambda connection, channel: connection.drain_events(timeout=0),
    'call': lambda connection, channel: channel.queue_declare('q'),
    'acknowledge': lambda connection, channel: channel.basic_ack(1),
    'publish': lambda connection, channel: channel.basic_publish(Message('x')),
    'confirm': lambda connection, channel: channel.basic_publish_confirm(Message('x')),
    'heartbeat': lambda connection, channel: connection.send_heartbeat(),
}


@pytest.mark.parametrize('use', USES)
def test_one_thread(peer: Peer, connect: Connect, use: str) -> None:
    peer.serve()
    connection = connect()
    channel = connection.channel()
    go(peer.wire())
    broken(connection)
    with pytest.raises(amqp.ConnectionForced) as caught:
        USES[use](connection, channel)
    assert caught.value.reply_code == 320
    with pytest.raises(amqp.RecoverableConnectionError, match='shutdown'):
        connection.channel()


def test_threads_that_share_the_connection(peer: Peer, connect: Connect) -> None:
    """Whoever meets with the end first: all name the broker's reason."""
    for number in range(10):
        calls: list[int] = []

        def leave_upon_the_third(
            wire: Wire, channel: int, frame: commands.Queue.Declare, calls: list[int] = calls
        ) -> None:
            calls.append(channel)
            if len(calls) < 3:
                wire.send(channel, commands.Queue.DeclareOk(frame.queue, 0, 0))
            else:
                go(wire)

        peer.serve(on={commands.Queue.Declare: leave_upon_the_third})
        connection = connect()
        # Or what the kernel takes from the publisher keeps the peer busy for long.
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
        uses = [(use, connection.channel()) for use in ('drain', 'call', 'publish', 'confirm')]
        threads = [Background(again_and_again, USES[use], connection, on) for use, on in uses]
        peer.finished(number)
        for thread, (use, _) in zip(threads, uses, strict=True):
            error = thread.error()
            assert isinstance(error, amqp.RecoverableConnectionError), use
            assert isinstance(first_cause(error), amqp.ConnectionForced), use


def again_and_again(
    use: Callable[..., Any], connection: amqp.Connection, channel: amqp.Channel
) -> None:
    while True:
        use(connection, channel)


def first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
