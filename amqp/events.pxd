# C types for events.py, and no logic.

cimport cython

from .thread_roles cimport CallbackThreads


cdef class EventQueue:
    cdef object _callbacks
    cdef object _reports
    cdef object _lasting
    cdef unsigned long long _inbound_thread
    cdef CallbackThreads _in_callback
    cdef object _drainer
    cdef unsigned long long _drainer_ident
    cdef bint _drainer_polls

    cpdef bint pending(self)
    cpdef unsigned long long begin_collecting(self)
    cpdef end_collecting(self, unsigned long long outer)
    cpdef bint is_collecting_here(self)
    cdef _put(self, events, channel, callback, tuple args)
    cpdef bint run_next(self)
    cpdef bint may_run_here(self)
    cpdef bint raise_next(self)
    cpdef bint run_any(self)
    cpdef run(self, callback, argument)
    @cython.locals(me=cython.ulonglong)
    cpdef note_drainer(self, bint polls)


cdef tuple _next_of(events)
