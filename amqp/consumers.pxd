# C types for consumers.py, and no logic.


cdef class Consumers:
    cdef public object channel
    cdef public dict callbacks
    cdef public bint auto_decode
