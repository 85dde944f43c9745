# C types for confirms.py, and no logic.
cimport cython


cdef class Confirmation:
    cdef public object acknowledged
    cdef public bint awaited
    cdef public object delivery_tag
    cdef public object error
    cdef public object likeness
    cdef public object message
    cdef public object promise
    cdef public object returned

    cpdef bint settled(self)


cdef class PublisherConfirms:
    cdef dict _failures
    cdef dict _outstanding
    cdef Py_ssize_t _returned
    cdef object _unlike
    cdef public object last_tag
    cdef public Py_ssize_t unlisted

    cpdef publish(self, Confirmation confirmation, object likeness=*)
    cpdef withdraw(self, Confirmation confirmation)
    cpdef withdraw_behind(self, last)
    @cython.locals(settled=list, each=Confirmation)
    cpdef list settle(self, delivery_tag, bint multiple, bint acknowledged)
