"""Heartbeat arithmetic (specification 4.2.7).

Any octet sent stands for a heartbeat sent, and any octet received for one
received: the transport notes when.
"""

from __future__ import annotations

from math import inf

__all__ = ('Heartbeat', 'negotiated_interval')

#: RabbitMQ too gives a peer up after two silent intervals.
INTERVALS_UNTIL_DEAD = 2


def negotiated_interval(client: float, server: float) -> float:
    """The interval in seconds that both sides can live with; 0 is none.

    The client's wish of 0 disables heartbeats whatever the server proposes;
    a server's 0 leaves the client's wish as it stands; else the lower holds.
    """
    if not client:
        return 0
    # The protocol knows whole seconds: a peer that was told 1 sends each 0.5.
    client = max(client, 1)
    return min(client, server) if server else client


class Heartbeat:
    """When to send a heartbeat, and when to give the peer up.

    :param interval: the negotiated interval in seconds; 0 turns all of it off.
    :param now: the present, in monotonic seconds.

    Set ``last_sent`` and ``last_received`` to when any octet last went or
    came, before asking.
    """

    __slots__ = ('interval', 'last_received', 'last_sent')

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        self.last_sent = now
        self.last_received = now

    def must_send(self, now: float) -> bool:
        """Whether our side has been silent for half an interval."""
        return self.interval > 0 and now >= self.last_sent + self.interval / 2

    def peer_is_dead(self, now: float) -> bool:
        """Whether the peer has been silent for two intervals."""
        return self.interval > 0 and now >= self._gives_up_at()

    def next_look(self) -> float:
        """The moment at which one of the two questions has to be asked again."""
        if not self.interval:
            return inf
        return min(self.last_sent + self.interval / 2, self._gives_up_at())

    def _gives_up_at(self) -> float:
        return self.last_received + INTERVALS_UNTIL_DEAD * self.interval
