"""The clock."""

from __future__ import annotations

import time

from amqp.clock import monotonic


def test_it_is_the_one_of_the_time_module():
    before = time.monotonic()
    now = monotonic()
    assert before <= now <= time.monotonic()
