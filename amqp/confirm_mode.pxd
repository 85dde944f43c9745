# C types for confirm_mode.py, and no logic.
from .confirms cimport Confirmation, PublisherConfirms


cdef class ConfirmMode:
    cdef set _awaiting
    cdef PublisherConfirms _confirms
    cdef object _lock

    cpdef bint is_used(self)
