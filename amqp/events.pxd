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
    cpdef run(self, callback, argument)
    @cython.locals(me=cython.ulonglong)
    cpdef note_drainer(self, bint polls)
