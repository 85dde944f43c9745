"""Functions in other threads, whose results and errors come back; conditions to wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

#: Seconds until something that should be over counts as stuck.
SOON = 10.0


class Background:
    """A function running in a thread of its own."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._call = function, args, kwargs
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        function, args, kwargs = self._call
        try:
            self._value = function(*args, **kwargs)
        except BaseException as exc:  # noqa: BLE001 (raised again by result)
            self._error = exc

    def error(self, patience: float = SOON) -> BaseException | None:
        """What it raised, once it is over; None if it returned."""
        self._thread.join(patience)
        if self._thread.is_alive():
            raise AssertionError(f'{self._call[0]} has not ended')
        return self._error

    def result(self, patience: float = SOON) -> Any:
        """What it returned, once it is over; raises what it raised."""
        error = self.error(patience)
        if error is not None:
            raise error
        return self._value


def until(reached: Callable[[], Any]) -> None:
    """Wait for what another thread brings about and nothing tells of."""
    give_up = time.monotonic() + SOON
    while not reached():
        if time.monotonic() > give_up:
            raise AssertionError('it never came about')
        time.sleep(0.0005)


class Interrupted(Exception):
    """What a signal handler raises."""


class InterruptedLock:
    """A re-entrant lock, with a signal right behind the first time that it is taken."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._pending = True

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; raises `Interrupted` once, when it has been taken."""
        taken: bool = self._lock.acquire(blocking, timeout)
        if taken and self._pending:
            self._pending = False
            raise Interrupted
        return taken

    def release(self) -> None:
        """Give it back."""
        self._lock.release()

    def _is_owned(self) -> bool:
        owned: bool = self._lock._is_owned()
        return owned
