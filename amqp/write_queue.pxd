# C types for write_queue.py, and no logic.


cdef class Write:
    cdef readonly bytes octets
    cdef readonly Py_ssize_t frames


cdef class WriteQueue:
    cdef readonly object writes
    cdef public bint is_open

    cpdef bint leave(self, object parts, Py_ssize_t frames) except -1
    cpdef list take(self)
