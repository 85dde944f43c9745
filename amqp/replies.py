"""The replies that a channel awaits.

A reply is matched by its method: those who wait for the same method on the
same channel get theirs in the order of their requests, which is the order the
peer answers in (specification 4.2.1).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('PendingReplies', 'Reply', 'as_methods')

MethodSig = tuple[int, int]


def as_methods(method: MethodSig | Sequence[MethodSig]) -> tuple[MethodSig, ...]:
    """The methods that can be a reply, told as one or as several."""
    if method and isinstance(method[0], int):
        return (method,)  # type: ignore[return-value]
    return tuple(method)  # type: ignore[arg-type]


class Reply:
    """The place where one awaited reply is put, or the error that came instead."""

    __slots__ = ('args', 'error', 'methods', 'ready')

    def __init__(self, methods: tuple[MethodSig, ...]) -> None:
        self.methods = methods
        self.ready = False
        self.args: tuple[Any, ...] = ()
        self.error: BaseException | None = None

    def is_ready(self) -> bool:
        """Whether the waiting is over."""
        return self.ready

    def succeed(self, args: tuple[Any, ...]) -> None:
        """This is the reply."""
        self.args = args
        self.ready = True

    def fail(self, error: BaseException) -> None:
        """No reply will come."""
        self.error = error
        self.ready = True


class PendingReplies:
    """The places for replies, in the order of the requests. Thread-safe."""

    __slots__ = ('_lock', '_replies')

    def __init__(self) -> None:
        self._replies: list[Reply] = []
        self.renew_lock()

    def renew_lock(self) -> None:
        """In a forked child: a thread that isn't there may hold it."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._replies)

    def add(self, reply: Reply) -> None:
        """Keep a place."""
        with self._lock:
            self._replies.append(reply)

    def forget(self, reply: Reply) -> None:
        """Give a place up, if it is still kept."""
        with self._lock:
            if reply in self._replies:
                self._replies.remove(reply)

    def awaits(self, method_sig: MethodSig) -> bool:
        """Whether that method would be somebody's reply."""
        return any(method_sig in reply.methods for reply in self._replies)

    def succeed(self, method_sig: MethodSig, args: tuple[Any, ...]) -> bool:
        """That method has come: put it where it is awaited; whether it is."""
        if not self._replies:
            return False
        with self._lock:
            for reply in self._replies:
                if method_sig in reply.methods:
                    self._replies.remove(reply)
                    break
            else:
                return False
        reply.succeed(args)
        return True

    def fail(self, error: BaseException) -> bool:
        """None of them will come; whether any was awaited."""
        with self._lock:
            waiting, self._replies = self._replies, []
        for reply in waiting:
            reply.fail(error)
        return bool(waiting)
