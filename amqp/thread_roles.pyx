"""The same as thread_roles.py, without a lock object: see there.

What is read and written between two calls into Python can't be interrupted
where there is a GIL; where there is none, a critical section sees to it.
"""

cimport cython

import threading
import time
from contextlib import suppress
from threading import TIMEOUT_MAX
from types import BuiltinFunctionType

__all__ = ('CallbackThreads', 'ReaderRole')


cdef bint are_threads_native() except -1:
    return isinstance(threading.get_ident, BuiltinFunctionType)


cdef unsigned long long green_ident() except? 0:
    return threading.get_ident()


cdef class ReaderRole:
    """A role for one thread, which may take it again while it has it.

    It is re-entrant for callbacks that run while their thread reads: those of
    subclasses that dispatch in their own way. What a signal handler raises may
    fall right behind the taking, so take it within the ``try`` whose
    ``finally`` steps down::

        outer = role.is_mine()
        try:
            if not outer and not role.try_take():
                return
            ...
        finally:
            if not outer:
                role.step_down()
    """

    def __cinit__(self):
        self._is_native = are_threads_native()
        self._owner = 0
        self._depth = 0
        self._waiting = []

    cpdef bint is_mine(self) except -1:
        """Whether this thread has the role."""
        return self._depth > 0 and self._owner == current(self._is_native)

    cpdef bint try_take(self) except -1:
        """Take the role, if it can be had at once."""
        cdef unsigned long long me = current(self._is_native)
        cdef bint taken = False
        with cython.critical_section(self):
            if self._depth == 0 or self._owner == me:
                self._owner = me
                self._depth += 1
                taken = True
        return taken

    def take_or_wait(self, ready, deadline):
        """Take the role, or wait for a change; whether the role was taken.

        Returns False when *ready* has become true or may have; raises
        ``socket.timeout`` at the deadline.
        """
        if self.try_take():
            return True
        woken = threading.Lock()
        woken.acquire()
        try:
            # Noted down before the second try: a reader that steps down between
            # the two tries either leaves the role to be had, or sees us.
            self._waiting.append(woken)
            if self.try_take():
                return True
            if not ready():
                remaining = deadline.remaining(time.monotonic())
                if remaining == 0:
                    raise TimeoutError('no event came in time')
                woken.acquire(timeout=-1 if remaining is None else min(remaining, TIMEOUT_MAX))
        finally:
            if woken in self._waiting:  # a signal handler may have raised before it was
                self._waiting.remove(woken)
        return False

    cpdef step_down(self):
        """Give the role up, if this thread has it."""
        if not self.is_mine():
            return  # and wake nobody: those who wait would wake each other for ever
        with cython.critical_section(self):
            self._depth -= 1
        if self._waiting:
            self.wake_all()

    def wake_all(self):
        """Have all who wait look whether their wait is over."""
        # A copy, for those woken take themselves off the list.
        for woken in self._waiting.copy():
            with suppress(RuntimeError):  # by another thread, at the same moment
                woken.release()


cdef class CallbackThreads:
    """The threads that are within a callback of one connection."""

    def __cinit__(self):
        self._is_native = are_threads_native()
        self._first = 0
        self._others = set()

    cpdef enter(self):
        """This thread runs a callback from now on."""
        cdef unsigned long long me = current(self._is_native)
        with cython.critical_section(self):
            if self._first == 0:
                self._first = me
            elif self._first != me:
                self._others.add(me)

    cpdef leave(self):
        """This thread's callback has ended."""
        cdef unsigned long long me = current(self._is_native)
        with cython.critical_section(self):
            if self._first == me:
                self._first = 0
            else:
                self._others.discard(me)

    cpdef unsigned long long ident(self) except? 0:
        """The number of this thread."""
        return current(self._is_native)

    cpdef bint has_me(self) except -1:
        """Whether this thread is within a callback."""
        cdef unsigned long long me = current(self._is_native)
        with cython.critical_section(self):
            # Who isn't the first makes a number of Python's only where there are others.
            return self._first == me or (len(self._others) > 0 and me in self._others)
