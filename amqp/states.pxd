# C types for states.py, and no logic.


cdef class StateMachine:
    cdef object _transitions
    cdef public object state
