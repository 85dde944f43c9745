# C types for basic_message.py, and no logic.
from .content cimport GenericContent


cdef class Message(GenericContent):
    cdef public object _body
    cdef public object _delivery_info
    cdef public bint _is_delivered
    cdef public bint _is_text
    cdef public object channel
