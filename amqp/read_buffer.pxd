# C types for read_buffer.py, and no logic.
cimport cython

from .body_buffer cimport BodyBuffer


cdef class ReadBuffer:
    cdef public Py_ssize_t frame_max
    cdef public long long frames_read
    cdef public long long messages_read
    cdef public dict bodies
    cdef public bytearray data
    cdef public Py_ssize_t start
    cdef public Py_ssize_t end
    cdef public Py_ssize_t channel_id
    cdef public object consumer_tag
    cdef bint _full
    cdef readonly object awaited
    cdef object _awaited_header
    cdef Py_ssize_t _awaited_filled
    cdef BodyBuffer _body

    @cython.locals(start=Py_ssize_t, end=Py_ssize_t, size=Py_ssize_t)
    cpdef next_frame(self)
    cpdef hand_out(self, Py_ssize_t start, Py_ssize_t frames)
    cpdef bint has_frame(self) except -1
    cpdef bint reads_ahead(self) except -1
    cpdef received(self, Py_ssize_t count)
    cpdef space(self)
    cpdef bint is_large(self) except -1
    cdef bint _is_amid_body(self) except -1
