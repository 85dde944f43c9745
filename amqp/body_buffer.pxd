# C types for body_buffer.py, and no logic.


cdef class BodyBuffer:
    cdef public Py_ssize_t received
    cdef public Py_ssize_t size
    cdef object _memory
    cdef object _room
