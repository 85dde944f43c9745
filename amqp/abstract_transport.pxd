# C types for abstract_transport.py, and no logic.
cimport cython

from .clock cimport monotonic
from .coalescing cimport Coalescing
from .locks cimport OwnedLock
from .read_buffer cimport ReadBuffer
from .sending cimport is_plain, send_parts


cdef class _AbstractTransport:
    cdef dict __dict__
    cdef object __weakref__
    cdef public object host
    cdef public object port
    cdef public object connect_timeout
    cdef public object read_timeout
    cdef public object write_timeout
    cdef public object socket_settings
    cdef public bint _raise_on_initial_eintr
    cdef public bint watched
    cdef public object sock
    cdef public bint connected
    cdef public object bytes_recv
    cdef public long long bytes_sent
    cdef public long long frames_sent
    cdef public long long messages_sent
    cdef public double received_at
    cdef public double sent_at
    cdef public object stall_timeout
    cdef public bint read_torn
    cdef public bint write_torn
    cdef public object _torn_by
    cdef public bint _is_layered
    cdef public object _ambient_timeout
    cdef public ReadBuffer _read_buffer
    cdef public Py_ssize_t _borrowed
    cdef public bint is_drained
    cdef public object _seen
    cdef public OwnedLock _write_lock
    cdef public bytearray _batch
    cdef public set _batches
    cdef public object _queue
    cdef public Coalescing _coalescing
    cdef public bint _is_amid_write
    cdef public object _close_lock
    cdef public set _waiting
    cdef public object _waker
    cdef public bint _closed
    cdef public Py_ssize_t _fork_generation

    @cython.locals(buffer=ReadBuffer)
    cpdef bint holds_data(self) except -1
    @cython.locals(lock=OwnedLock)
    cpdef write_gathered(self, list parts, Py_ssize_t frames=*, bint may_leave=*)
    cdef _count(self, Py_ssize_t frames)
    @cython.locals(lock=OwnedLock)
    cdef _send_left(self, object deadline=*)
    cdef _take_left(self)
    cpdef long long octets_given(self) except -1
    @cython.locals(size=Py_ssize_t, coalescing=Coalescing)
    cdef _put(self, list parts, object deadline)
    cdef _resume(self)
    @cython.locals(count=Py_ssize_t, sent=Py_ssize_t, begun=bint)
    cdef _send_all(self, list parts, object deadline)
    cpdef fill(self, deadline)
    @cython.locals(coalescing=Coalescing)
    cdef _wait_to_receive(self, int want, deadline)
    cdef _wait_for_octets(self, int want, deadline)
    cpdef bint fill_now(self) except -1
    cpdef give_back(self)
    cpdef _usable_socket(self)
    cdef _open_socket(self)
    cdef _adopt_timeout(self, object sock)
    cpdef Py_ssize_t _send(self, object sock, list parts) except? -1
