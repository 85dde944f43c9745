"""The promise that a message, published without waiting, is taken by the broker."""

from __future__ import annotations

import threading
from collections.abc import Callable

from vine import Thenable, promise

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('ConfirmPromise',)


class ConfirmPromise(promise):  # type: ignore[misc] # vine has no types
    """A vine promise that one thread may settle while another adds callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.Lock()
        self._outcome: tuple[Any, BaseException | None] | None = None
        self._is_heard = False

    def is_heard(self) -> bool:
        """Whether anybody is told of an error."""
        return self._is_heard or self.on_error is not None

    def then(
        self,
        callback: Callable[[Any], Any] | Any,
        on_error: Callable[[BaseException], Any] | None = None,
    ) -> Any:
        """Have *callback* called with the message when the broker has taken it.

        :param on_error: called with the error otherwise.

        If that is settled, it is called at once. Returns the promise of that
        call. Thread-safe.
        """
        if not isinstance(callback, Thenable):
            callback = promise(callback, on_error=on_error)
        if getattr(callback, 'on_error', self) is not None:  # a barrier has none, and hears all
            self._is_heard = True
        with self._guard:
            if self._outcome is None:
                return super().then(callback)  # calls nothing
            message, error = self._outcome
        if self.cancelled:
            callback.cancel()
        elif error is None:
            callback(message)
        else:
            callback.throw1(error)
        return callback

    def fulfil(self, message: Any) -> None:
        """The broker has taken the message."""
        if self._settle(message, None):
            self(message)

    def fail(self, error: BaseException) -> None:
        """It has not, or nobody knows. Raises only what a callback raises."""
        if self._settle(None, error):
            self.throw(error, propagate=False)

    def _settle(self, message: Any, error: BaseException | None) -> bool:
        """From now on `then` calls by itself; whether this is the outcome."""
        with self._guard:
            if self._outcome is not None:
                return False
            self._outcome = message, error
            return True
