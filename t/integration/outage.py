"""A node that goes away and comes back while the test goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from t.helpers.broker import Broker

from .support import until

#: Seconds in which the moment has to come, and the node to be back.
PATIENCE = 60


class Outage:
    """Takes *broker* away and brings it back, in a thread of its own.

    That thread lasts as long as the context does: the kernel ends a node with the thread that
    started it.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._over = threading.Event()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Outage:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def begin(self, way: str, reached: Callable[[], Any] = lambda: True) -> None:
        """Once *reached*: 'restart', of which clients are told, or 'kill', as by a power cut."""
        self._thread = threading.Thread(target=self._run, args=(way, reached), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when the node is back."""
        assert self._over.wait(2 * PATIENCE), 'the node is not back'

    def _run(self, way: str, reached: Callable[[], Any]) -> None:
        until(reached, PATIENCE)
        if way == 'restart':
            self._broker.restart()
        else:
            self._broker.kill()
            self._broker.start_again()
        self._over.set()
        self._end.wait()
