# C types for deadline.py, and no logic.


cdef class Deadline:
    cdef public double at
    cdef public bint wakeable

    cpdef bint expired(self, double now)
    cpdef Deadline no_later_than(self, double at)
