"""A lock that knows its owner, as locks.py has it, and costs next to nothing where nobody waits.

What is read and written between two calls into Python can't be interrupted
where there is a GIL; where there is none, a critical section sees to it. Those
who wait do so on locks of their own. The first of them may find it taken again when
it is woken, by a thread that had the GIL; the next time it is kept for that one. It is woken
once, not with each release until it has the GIL.
"""

cimport cython

from .clock cimport monotonic
from .thread_roles cimport are_threads_native, current

import threading
from threading import TIMEOUT_MAX

__all__ = ('OwnedLock',)


@cython.final
cdef class OwnedLock:
    """A re-entrant lock with the methods of ``threading.RLock``, one of which tells its owner."""

    def __cinit__(self):
        self._is_native = are_threads_native()
        self._waiting = []

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *exc_info):
        self.release()

    cpdef bint _is_owned(self) except -1:
        """Whether this thread has it."""
        return self._depth > 0 and self._owner == current(self._is_native)

    cpdef bint acquire(self, bint blocking=True, double timeout=-1) except -1:
        """Take it; False if it can't be had at once, or within *timeout* seconds."""
        if self._take():
            return True
        return blocking and self._wait(timeout)

    cpdef release(self):
        """Give it back. RuntimeError if this thread hasn't it."""
        if not self._is_owned():
            raise RuntimeError('cannot release un-acquired lock')
        with cython.critical_section(self):
            self._depth -= 1
        if self._waiting:
            self._wake()

    cdef bint _take(self) except -1:
        cdef unsigned long long me = current(self._is_native)
        cdef bint taken = False
        with cython.critical_section(self):
            if (self._depth and self._owner == me) or (
                not self._depth and (not self._heir or self._heir == me)
            ):
                self._owner = me
                self._heir = 0
                self._depth += 1
                taken = True
        return taken

    cdef bint _wait(self, double timeout) except -1:
        cdef double end = monotonic() + timeout
        cdef unsigned long long me = current(self._is_native)
        cdef bint taken = False
        woken = threading.Lock()
        woken.acquire()
        try:
            # Noted down before the second try: who releases it between the two
            # either leaves it to be had, or sees us.
            self._waiting.append(woken)
            taken = self._take()
            while not taken and woken.acquire(timeout=left(timeout, end)):
                # Ahead of the next try: who has it then is to wake us again.
                with cython.critical_section(self):
                    self._woken = None
                taken = self._take()
                if not taken:
                    self._heir = me  # only the first one that waits is ever woken
        finally:
            if woken in self._waiting:  # a signal handler may have raised before it was
                self._waiting.remove(woken)
            if not taken:
                if self._heir == me:
                    self._heir = 0
                self._wake()  # the next one, for we may have been woken in vain
        return taken

    cdef _wake(self):
        if self._depth:
            return  # who has it wakes somebody
        # A copy, for those woken take themselves off the list.
        for woken in self._waiting[:1]:
            if self._has_been_woken(woken):
                return
            try:  # no suppress(): a signal handler might run within
                woken.release()
            except RuntimeError:
                pass  # by another thread, at the same moment

    cdef bint _has_been_woken(self, object woken) except -1:
        """Whether it has, where threads are the system's; from now on it has."""
        cdef bint before
        if not self._is_native:
            return False  # there a release may run other code and not come to its end
        with cython.critical_section(self):
            before = self._woken is woken
            self._woken = woken
        return before


cdef object left(double timeout, double end):
    return -1 if timeout < 0 else min(max(end - monotonic(), 0.0), TIMEOUT_MAX)
