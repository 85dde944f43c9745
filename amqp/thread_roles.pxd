# C declarations of thread_roles.pyx, for the modules that use it.


cdef class ReaderRole:
    cdef unsigned long _owner
    cdef Py_ssize_t _depth
    cdef readonly object _changed
    cdef readonly Py_ssize_t _waiting

    cpdef bint is_mine(self)
    cpdef bint try_take(self)
    cpdef step_down(self)


cdef class CallbackThreads:
    cdef unsigned long _first
    cdef set _others

    cpdef bint enter(self) except -1
    cpdef leave(self)
    cpdef bint has_me(self) except -1
