# C declarations of thread_roles.pyx, for the modules that use it.
from cpython.pythread cimport PyThread_get_thread_ident

# Whether threads are those of the system: gevent and eventlet have many in one.
cdef bint are_threads_native() except -1

cdef unsigned long long green_ident() except? 0


cdef inline unsigned long long current(bint is_native) except? 0:
    return PyThread_get_thread_ident() if is_native else green_ident()


cdef class ReaderRole:
    cdef unsigned long long _owner
    cdef bint _is_native
    cdef Py_ssize_t _depth
    cdef readonly list _waiting

    cpdef bint is_mine(self) except -1
    cpdef bint try_take(self) except -1
    cpdef step_down(self)


cdef class CallbackThreads:
    cdef unsigned long long _first
    cdef bint _is_native
    cdef set _others

    cpdef enter(self)
    cpdef leave(self)
    cpdef unsigned long long ident(self) except? 0
    cpdef bint has_me(self) except -1
