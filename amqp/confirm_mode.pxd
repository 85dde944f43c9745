# C types for confirm_mode.py, and no logic.
from .confirms cimport Confirmation, PublisherConfirms


cdef class ConfirmMode:
    cdef set _awaiting
    cdef PublisherConfirms _confirms
    cdef object _lock
    cdef object _loss
    cdef Py_ssize_t _waiting
    cdef public Py_ssize_t window

    cpdef bint is_on(self)
    cpdef bint is_used(self)
    cdef bint _is_awaiting_here(self)
    cpdef bint is_full(self)
    cpdef Confirmation number(
        self, bytes payload=*, object content=*, Confirmation confirmation=*
    )
    cpdef last_tag(self)
    cpdef withdraw_behind(self, last)
    cpdef withdraw(self, Confirmation confirmation)
    cpdef list settle(self, delivery_tag, bint multiple, bint acknowledged)
