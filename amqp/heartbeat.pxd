# C types for heartbeat.py, and no logic.


cdef class Heartbeat:
    cdef public double interval
    cdef public double last_received
    cdef public double last_sent

    cpdef bint must_send(self, double now)
    cpdef bint peer_is_dead(self, double now)
    cpdef double next_look(self)
    cdef double _gives_up_at(self)
