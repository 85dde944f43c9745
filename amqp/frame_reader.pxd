# C types for frame_reader.py, and no logic.
cimport cython

from .assembly cimport take_delivery
from .basic_message cimport Message
from .inbox cimport Inbox
from .deadline cimport Deadline
from .events cimport EventQueue
from .method_framing cimport Inbound
from .read_buffer cimport ReadBuffer
from .thread_roles cimport ReaderRole
from .utils cimport fork_generation

cdef object OPEN


cdef class FrameReader:
    cdef object __weakref__
    cdef readonly object _connection
    cdef EventQueue _events
    cdef public ReaderRole _role
    cdef Py_ssize_t _fork_generation
    cdef long long _frames_taken
    cdef object _transport
    cdef ReadBuffer _buffer
    cdef Inbound _inbound
    cdef Py_ssize_t _max_message_size
    cdef readonly bint _is_direct
    cdef readonly Inbox _last
    cdef bint _is_over

    @cython.locals(message=Message, buffer=ReadBuffer, inbound=Inbound)
    cpdef bint deliver_next(self, bint polls) except -1

    cdef _share_bodies(self)
    cdef _step_down(self)
    cdef _step_down_again(self)
    cdef _let_go(self)
    cdef Message _next_delivery(self, ReadBuffer buffer, Inbound inbound)

    @cython.locals(inbox=Inbox)
    cdef object _find_callback(self, ReadBuffer buffer, Message message)
    cdef object _pass_on(self, ReadBuffer buffer, Inbound inbound, Message message)

    @cython.locals(message=Message, buffer=ReadBuffer, inbound=Inbound, completed=bint)
    cdef bint _take_frame(self, Deadline deadline) except -1
