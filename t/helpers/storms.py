"""Storms of signals, whose handler raises anywhere within what is tested and nowhere else."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

from t.helpers.threads import Interrupted


class Storm:
    """SIGALRM, once in so many seconds; what `call` runs is interrupted by it. In the main thread.

    pytest-timeout takes that signal by default: give it another method.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._outdoors = False

    def __enter__(self) -> Storm:
        # Python drops what is raised within a finalizer, and reports it here.
        self._hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
        self._before = signal.signal(signal.SIGALRM, self._strike)
        signal.setitimer(signal.ITIMER_REAL, self._seconds, self._seconds)
        return self

    def __exit__(self, *exc_info: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
        sys.unraisablehook = self._hook

    def call(self, function: Callable[[], Any]) -> Any:
        """What it returns; raises `Interrupted` where a signal fell within it."""
        try:
            self._outdoors = True
            return _exposed(function)
        finally:
            self._outdoors = False

    def _strike(self, number: int, frame: Any) -> None:
        # Within `call` itself it would leave the flag as it is, or come too late.
        if self._outdoors and frame.f_code is not Storm.call.__code__:
            raise Interrupted


def _exposed(function: Callable[[], Any]) -> Any:
    """A frame that isn't that of `Storm.call`, for functions that have none of their own."""
    return function()
