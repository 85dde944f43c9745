# C types for frame_reader.py, and no logic.
cimport cython

from .abstract_transport cimport _AbstractTransport
from .assembly cimport next_method, take_arguments, take_message
from .basic_message cimport Message
from .heartbeat cimport Heartbeat
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
    cdef _AbstractTransport _transport
    cdef ReadBuffer _buffer
    cdef public bint has_chores
    cdef Inbound _inbound
    cdef Py_ssize_t _max_message_size
    cdef readonly bint _is_direct
    cdef readonly Inbox _last
    cdef bint _is_over

    @cython.locals(
        transport=_AbstractTransport, message=Message, buffer=ReadBuffer, inbound=Inbound
    )
    cpdef bint deliver_next(self, bint polls) except -1

    cpdef wait_until(self, ready, Deadline deadline)
    cpdef bint advance(self, ready, Deadline deadline) except -1
    cpdef bint may_hide(self, bint polls)
    @cython.locals(left=Py_ssize_t)
    cpdef leave_nothing_unseen(self, bint reports=*)

    @cython.locals(count=Py_ssize_t)
    cpdef Py_ssize_t look(self, Py_ssize_t limit, bint kernel=*) except -1

    cdef _AbstractTransport _usable_transport(self)
    cdef bint _is_at_hand(self) except -1
    cdef bint _read_frame(self, Deadline deadline) except -1

    @cython.locals(heartbeat=Heartbeat, look=Deadline)
    cdef _fill(self, connection, _AbstractTransport transport, Deadline deadline)

    @cython.locals(heartbeat=Heartbeat)
    cdef _keep_heartbeat(self, _AbstractTransport transport)
    cdef _share_bodies(self)
    cdef _step_down(self)
    cdef _step_down_again(self)
    cdef _let_go(self)
    cdef Message _next_message(
        self, _AbstractTransport transport, ReadBuffer buffer, Inbound inbound
    )

    @cython.locals(inbox=Inbox)
    cdef Inbox _inbox_of(self, Py_ssize_t channel_id)

    @cython.locals(inbox=Inbox)
    cdef object _find_callback(self, ReadBuffer buffer, Message message)

    @cython.locals(inbox=Inbox, ids=cython.uint, simple=tuple, args=tuple)
    cdef bint _take_method(self, ReadBuffer buffer) except -1

    @cython.locals(inbox=Inbox)
    cdef bint _feed(self, ReadBuffer buffer, Message message) except -1
    cdef _put_aside(self, ReadBuffer buffer, Inbound inbound, Message message)
    cdef object _pass_on(self, ReadBuffer buffer, Inbound inbound, Message message)

    @cython.locals(
        transport=_AbstractTransport,
        message=Message,
        buffer=ReadBuffer,
        inbound=Inbound,
        completed=bint,
    )
    cdef bint _take_frame(self, Deadline deadline) except -1
