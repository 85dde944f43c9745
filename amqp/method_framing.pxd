# C types for method_framing.py, and no logic.


cdef class Inbound:
    cdef object _connection
    cdef readonly object callback
    cdef object _content_methods
    cdef readonly dict awaited
    cdef readonly dict bodies
