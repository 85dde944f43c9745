# C types for inbox.py, and no logic.
from .replies cimport PendingReplies
from .states cimport StateMachine


cdef class Inbox:
    cdef public object channel
    cdef public Py_ssize_t channel_id
    cdef public StateMachine state
    cdef public bint direct
    cdef public bint auto_decode
    cdef public dict callbacks
    cdef public dict streams
    cdef public PendingReplies replies
