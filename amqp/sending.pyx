"""Handing octets to the kernel: sending.py in C.

A socket of Python's own is written to by its descriptor. The GIL is kept while
little is sent, for another thread that computes would take it for milliseconds.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, errno

import _socket
import os

__all__ = ('WANT_WRITE', 'is_plain', 'send_parts')

#: What a send that could not go on is waiting for.
WANT_WRITE = -2

try:
    IOV_MAX = min(os.sysconf('SC_IOV_MAX'), 1024)
except (AttributeError, OSError, ValueError):
    IOV_MAX = 16

cdef extern from *:
    """
    #define AMQP_PARTS 16
    #ifdef _WIN32  /* sockets have no descriptors there */
    #define AMQP_HAS_SENDMSG 0
    static Py_ssize_t amqp_send(int fd, Py_buffer *parts, Py_ssize_t count) { return -1; }
    #else
    #include <sys/socket.h>
    #include <sys/uio.h>
    #define AMQP_HAS_SENDMSG 1
    #ifndef MSG_NOSIGNAL  /* Python ignores SIGPIPE */
    #define MSG_NOSIGNAL 0
    #endif
    static Py_ssize_t amqp_send(int fd, Py_buffer *parts, Py_ssize_t count) {
        struct iovec places[AMQP_PARTS];
        struct msghdr message = {0};
        Py_ssize_t at;
        if (count == 1)
            return send(fd, parts->buf, (size_t)parts->len, MSG_DONTWAIT | MSG_NOSIGNAL);
        for (at = 0; at < count; at++) {
            places[at].iov_base = parts[at].buf;
            places[at].iov_len = (size_t)parts[at].len;
        }
        message.msg_iov = places;
        message.msg_iovlen = count;
        return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    #endif
    """
    enum:
        PARTS "AMQP_PARTS"
        HAS_SENDMSG "AMQP_HAS_SENDMSG"
    Py_ssize_t send_octets "amqp_send"(int fd, Py_buffer* parts, Py_ssize_t count) nogil

cdef enum:
    #: Up to so many octets the GIL is kept.
    LITTLE = 64 * 1024

cdef object SocketType = _socket.socket
#: The last class that was found to be one whose descriptor may be written to.
cdef object _plain_class = None


cpdef Py_ssize_t send_parts(object sock, list parts) except? -1:
    """How many octets of *parts* the kernel has taken, or `WANT_WRITE`: it takes none just now.

    The socket doesn't block. Raises OSError.
    """
    if is_plain(sock):
        return send_to(sock.fileno(), parts)
    try:
        if len(parts) == 1 or not hasattr(sock, 'sendmsg'):  # Windows has none
            return sock.send(parts[0])
        return sock.sendmsg(parts[:IOV_MAX])
    except BlockingIOError:
        return WANT_WRITE


cpdef bint is_plain(object sock) except -1:
    """Whether the socket's descriptor is written to, whatever timeout the socket has.

    So it is where nobody has put something of his own between the socket and
    the kernel: TLS does, and gevent and eventlet do. Never without C.
    """
    return type(sock) is _plain_class or (HAS_SENDMSG and is_of_plain_class(sock))


cdef bint is_of_plain_class(object sock) except -1:
    global _plain_class
    cls = type(sock)
    for name in ('fileno', 'send', 'sendmsg'):
        if getattr(cls, name, None) is not getattr(SocketType, name):
            return False
    _plain_class = cls
    return True


cdef Py_ssize_t send_to(int descriptor, list parts) except? -1:
    cdef Py_buffer[PARTS] places
    cdef Py_ssize_t count = 0, size = 0, sent = -1
    try:
        while count < PARTS and count < len(parts):
            PyObject_GetBuffer(parts[count], &places[count], PyBUF_SIMPLE)
            size += places[count].len
            count += 1
        while True:
            if size <= LITTLE:
                sent = send_octets(descriptor, places, count)
            else:
                with nogil:
                    sent = send_octets(descriptor, places, count)
            if sent >= 0:
                return sent
            if errno == EAGAIN:
                return WANT_WRITE
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            PyErr_CheckSignals()
    finally:
        while count:
            count -= 1
            PyBuffer_Release(&places[count])
