# C declarations of locks.pyx, for the modules that use it.


cdef class OwnedLock:
    cdef unsigned long long _owner
    cdef unsigned long long _heir
    cdef Py_ssize_t _depth
    cdef bint _is_native
    cdef readonly list _waiting
    cdef object _woken

    cpdef bint _is_owned(self) except -1
    cpdef bint acquire(self, bint blocking=*, double timeout=*) except -1
    cpdef release(self)
    cdef bint _take(self) except -1
    cdef bint _wait(self, double timeout) except -1
    cdef _wake(self)
    cdef bint _has_been_woken(self, object woken) except -1
