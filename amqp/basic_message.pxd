# C types for basic_message.py, and no logic.
cimport cython

from .content cimport GenericContent
from .tables cimport read_longlong


cdef class Message(GenericContent):
    cdef public object _body
    cdef public object _delivery_info
    cdef public bint _is_delivered
    cdef public bint _is_text
    cdef public object channel

    cdef _decode_text(self)
    @cython.locals(octets=bytes, offset=Py_ssize_t)
    cdef _content_encoding(self)
