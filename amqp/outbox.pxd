# C declarations of outbox.pyx, for the modules that use it.
from .confirm_mode cimport ConfirmMode
from .confirms cimport Confirmation
from .locks cimport OwnedLock
from .method_framing cimport Outbound
from .states cimport StateMachine


cdef class Outbox:
    cdef public unsigned int channel_id
    cdef public StateMachine state
    cdef public bint active
    cdef public object unreported
    cdef public bint settles
    cdef public ConfirmMode confirm_mode
    cdef public OwnedLock lock
    cdef public Outbound outbound

    cpdef bint publish(
        self,
        object message,
        object exchange,
        object routing_key,
        bint mandatory,
        bint immediate,
    ) except -1
    cpdef Confirmation publish_numbered(
        self,
        object message,
        object exchange,
        object routing_key,
        Confirmation confirmation=*,
    )
    cpdef bint settle(self, tuple method_sig, object delivery_tag, bint flag) except -1
    cpdef bint send_settlement(
        self, tuple method_sig, object delivery_tag, bint flag
    ) except -1
