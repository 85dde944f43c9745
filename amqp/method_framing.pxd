# C types for method_framing.py, and no logic.
cimport cython

from .abstract_transport cimport _AbstractTransport
from .basic_message cimport Message
from .clock cimport monotonic
from .outgoing cimport encode_publish, encode_settlement
from .replies cimport PendingReplies, Reply
from .utils cimport fork_generation


cdef class Inbound:
    cdef object _connection
    cdef readonly object callback
    cdef object _content_methods
    cdef readonly dict awaited
    cdef readonly dict bodies


cdef class Outbound:
    cdef object _connection
    cdef object _transport
    cdef _AbstractTransport _stream
    cdef Py_ssize_t _fork_generation
    cdef public bint is_open
    cdef public Py_ssize_t frame_max
    cdef public double next_look

    cpdef bint may_send(self)
    cpdef bint publish(
        self,
        unsigned int channel_id,
        Message message,
        object exchange,
        object routing_key,
        unsigned int flags,
        bint may_leave,
    ) except -1
    cpdef bint settle(
        self, unsigned int channel_id, tuple method_sig, object delivery_tag, unsigned int flags
    ) except -1
    cpdef bint request(
        self,
        unsigned int channel_id,
        tuple method_sig,
        bytes args,
        PendingReplies replies,
        Reply reply,
    ) except -1
    @cython.locals(stream=_AbstractTransport)
    cpdef long long octets_given(self) except -1
    cpdef interrupted(self, exc, long long before)
    @cython.locals(before=cython.longlong)
    cdef _write(
        self, _AbstractTransport stream, list parts, Py_ssize_t frames, bint may_leave
    )
