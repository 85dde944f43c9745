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

    def error(self) -> BaseException | None:
        """What it raised, once it is over; None if it returned."""
        self._thread.join(SOON)
        if self._thread.is_alive():
            raise AssertionError(f'{self._call[0]} has not ended')
        return self._error

    def result(self) -> Any:
        """What it returned, once it is over; raises what it raised."""
        error = self.error()
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
