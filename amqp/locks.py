"""A lock that knows its owner.

The compiled build has one of its own: ``locks.pyx``.
"""

from __future__ import annotations

import threading

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('OwnedLock',)


def OwnedLock() -> Any:  # noqa: N802 - a class in the compiled build
    """A re-entrant lock with the methods of ``threading.RLock``, one of which tells its owner."""
    return threading.RLock()  # looked up at each call: gevent and eventlet replace it
