# C types for coalescing.py, and no logic.


cdef class Coalescing:
    cdef public object sock
    cdef readonly bint is_on
    cdef bint _is_awaited
    cdef Py_ssize_t _writes_left
    cdef double _looked
    cdef double _began

    cpdef resume(self, double pause)
    cpdef wrote(self, double now)
    cpdef begin_wait(self)
    cpdef end_wait(self)
    cpdef stop(self)
    cdef _start(self)
    cdef _stop_if_awaited(self)
    cdef _set_no_delay(self, int value)
