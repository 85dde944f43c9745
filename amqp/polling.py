"""Waiting until one of two descriptors is ready.

The compiled build does so without objects between, where nobody has replaced
``select.poll``: ``polling.pyx``.
"""

from __future__ import annotations

import select
from math import ceil

__all__ = ('POLLIN', 'POLLOUT', 'wait_for')

POLLIN = getattr(select, 'POLLIN', 1)
POLLOUT = getattr(select, 'POLLOUT', 4)


def wait_for(descriptor: int, events: int, timeout: float | None, other: int = -1) -> int:
    """Wait until *descriptor* is ready for *events* or has failed, or *other* can be read.

    :param timeout: seconds, rounded up to the next millisecond; None: for ever.
    :param other: -1 for none.

    1 for the first, 2 for the other one, their sum for both; 0 where the time
    has passed. Goes on after a signal, unless its handler raises.
    """
    # Looked up at each call: gevent and eventlet replace it.
    poller = select.poll()
    poller.register(descriptor, events)
    if other >= 0:
        poller.register(other, POLLIN)
    ready = 0
    for found, _ in poller.poll(None if timeout is None else ceil(timeout * 1000)):
        ready |= 1 if found == descriptor else 2
    return ready
