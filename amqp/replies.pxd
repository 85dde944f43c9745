# C types for replies.py, and no logic.


cdef class Reply:
    cdef public tuple methods
    cdef public bint ready
    cdef public tuple args
    cdef public object error

    cpdef bint is_ready(self)
    cpdef succeed(self, tuple args)


cdef class PendingReplies:
    cdef list _replies
    cdef object _lock

    cpdef add(self, Reply reply)
    cpdef forget(self, Reply reply)
    cpdef bint succeed(self, tuple method_sig, tuple args)
