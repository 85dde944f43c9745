# C types for content.py, and no logic.
from .body_buffer cimport BodyBuffer


cdef class GenericContent:
    cdef dict __dict__
    cdef object __weakref__
    cdef public object frame_method
    cdef public object frame_args
    cdef public object _properties
    cdef public object _octets
    cdef public object _body_buffer
    cdef public unsigned long long body_size
    cdef public unsigned long long body_received
    cdef public bint header_received

    cdef _begin(self, object frame_method, object frame_args, dict properties)
