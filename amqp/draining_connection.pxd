# C types for draining_connection.py, and no logic.
from .frame_reader cimport FrameReader

cdef bint _deliver_next(FrameReader reader, bint polls) except -1
cdef bint _may_hide(FrameReader reader, bint polls) except -1
