# C types for frame_reader.py, and no logic.
cimport cython

from .basic_message cimport Message
from .events cimport EventQueue
from .read_buffer cimport ReadBuffer
from .thread_roles cimport ReaderRole
from .consumers cimport Consumers
from .method_framing cimport Inbound
from .assembly cimport take_delivery


cdef class FrameReader:
    cdef object __weakref__
    cdef dict __dict__
    cdef object _connection
    cdef EventQueue _events
    cdef public long long _frames_taken
    cdef Py_ssize_t _last_id
    cdef Consumers _last
    cdef ReaderRole _role
    cdef public Inbound _inbound
    cdef public ReadBuffer _buffer
    cdef public dict consumers
    cdef public Py_ssize_t max_message_size

    @cython.locals(message=Message, buffer=ReadBuffer, consumers=Consumers)
    cpdef bint deliver_next(self) except -1
