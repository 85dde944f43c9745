"""What the unit tests of channels share."""

from __future__ import annotations

from pamqp import commands

#: What a broker says of a queue that isn't there.
CLOSE = commands.Channel.Close(404, "NOT_FOUND - no 'q'", 50, 10)


def scripted(peer, connect, on=None, mute=(), **options):
    """A channel of a peer with these handlers."""
    peer.serve(on=on or {}, mute=mute)
    return connect(**options).channel()


def drain(connection, count=1):
    for _ in range(count):
        connection.drain_events(timeout=5)
