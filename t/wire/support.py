"""What the wire tests share: threads with a deadline, clocks, readiness of a socket."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import amqp

#: Seconds within which anything has to be over that should be over at once.
SOON = 10.0

#: A documented way for a call on a dead object to end.
LOST = amqp.RecoverableConnectionError


class Background:
    """A function running in a thread; `result` waits for it and raises what it raised."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._call = function, args, kwargs
        self._value: Any = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        function, args, kwargs = self._call
        try:
            self._value = function(*args, **kwargs)
        except BaseException as exc:  # noqa: BLE001 (raised again by result)
            self._error = exc

    @property
    def done(self) -> bool:
        return not self.thread.is_alive()

    def error(self) -> BaseException | None:
        """What it raised, once it is over; None if it returned."""
        self._join()
        return self._error

    def result(self) -> Any:
        """What it returned, once it is over."""
        self._join()
        if self._error is not None:
            raise self._error
        return self._value

    def _join(self) -> None:
        self.thread.join(SOON)
        if self.thread.is_alive():
            raise AssertionError(f'{self._call[0]} has not ended')


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    """The block has to be over in time, however it ends."""
    began = time.monotonic()
    try:
        yield
    finally:
        elapsed = time.monotonic() - began
        if elapsed >= seconds:
            raise AssertionError(f'took {elapsed:.1f} s, not less than {seconds}')


def readable(connection: amqp.Connection) -> None:
    """Wait until the client's socket has something to read."""
    ready, _, _ = select.select([connection.sock], [], [], SOON)
    assert ready, 'nothing came for the client to read'


def unread(connection: amqp.Connection) -> bool:
    """Whether the kernel holds bytes for the client at this moment."""
    return bool(select.select([connection.sock], [], [], 0)[0])


def drain_until(connection: amqp.Connection, reached: Callable[[], bool]) -> None:
    """Drain events until something has come about."""
    give_up = time.monotonic() + SOON
    while not reached():
        assert time.monotonic() < give_up, 'the event never came'
        connection.drain_events(timeout=SOON)


def poll_dry(connection: amqp.Connection) -> None:
    """Drain what is there, as an event loop does."""
    with suppress(TimeoutError):
        while True:
            connection.drain_events(timeout=0)
