"""The clock that deadlines, heartbeats and looks at the socket go by.

The compiled build reads it without a call into Python: ``clock.pyx``.
"""

from __future__ import annotations

from time import monotonic

__all__ = ('monotonic',)
