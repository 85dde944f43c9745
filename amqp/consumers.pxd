# C types for consumers.py, and no logic.
from .states cimport StateMachine


cdef class Consumers:
    cdef public object channel
    cdef public Py_ssize_t channel_id
    cdef public StateMachine state
    cdef public bint direct
    cdef public bint auto_decode
    cdef public dict callbacks
