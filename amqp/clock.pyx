"""The clock of ``time.monotonic``, for C: see clock.py."""

from cpython cimport time

__all__ = ('monotonic',)


cpdef double monotonic() noexcept:
    """Seconds, of the same clock as ``time.monotonic``."""
    return time.monotonic()
