"""Waiting until one of two descriptors is ready: polling.py in C."""

from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from libc.errno cimport EINTR, errno
from libc.math cimport ceil
from libc.limits cimport INT_MAX

from .clock cimport monotonic

import select
from math import ceil as ceiling
from types import BuiltinFunctionType

__all__ = ('POLLIN', 'POLLOUT', 'wait_for')

POLLIN = getattr(select, 'POLLIN', 1)
POLLOUT = getattr(select, 'POLLOUT', 4)

cdef extern from *:
    """
    #ifdef _WIN32  /* sockets have no descriptors there */
    #define AMQP_HAS_POLL 0
    static int amqp_poll(int first, int events, int second, int timeout, int *ready) { return -1; }
    #else
    #include <poll.h>
    #define AMQP_HAS_POLL 1
    static int amqp_poll(int first, int events, int second, int timeout, int *ready) {
        struct pollfd places[2] = {{first, (short)events, 0}, {second, POLLIN, 0}};
        int count = poll(places, second < 0 ? 1 : 2, timeout);
        *ready = (places[0].revents ? 1 : 0) | (places[1].revents ? 2 : 0);
        return count;
    }
    #endif
    """
    enum:
        HAS_POLL "AMQP_HAS_POLL"
    int poll_both "amqp_poll"(int first, int events, int second, int timeout, int* ready) nogil


cpdef int wait_for(int descriptor, int events, object timeout, int other=-1) except -1:
    """Wait until *descriptor* is ready for *events* or has failed, or *other* can be read.

    :param timeout: seconds, rounded up to the next millisecond; None: for ever.
    :param other: -1 for none.

    1 for the first, 2 for the other one, their sum for both; 0 where the time
    has passed. Goes on after a signal, unless its handler raises.
    """
    cdef double seconds = -1, end = 0
    if timeout is not None:
        seconds = max(<double>timeout, 0.0)
    # gevent and eventlet replace it. What is longer than C can count is left to Python as well.
    if not HAS_POLL or type(select.poll) is not BuiltinFunctionType or seconds * 1000 > INT_MAX - 1:
        return wait_by_python(descriptor, events, timeout, other)
    if descriptor < 0:
        raise ValueError(f'file descriptor cannot be a negative integer ({descriptor})')
    if seconds > 0:
        end = monotonic() + seconds
    return wait_by_c(descriptor, events, seconds, end, other)


cdef int wait_by_c(int descriptor, int events, double seconds, double end, int other) except -1:
    cdef int count, ready = 0
    cdef int milliseconds
    while True:
        milliseconds = -1 if seconds < 0 else <int>ceil(seconds * 1000)
        with nogil:
            count = poll_both(descriptor, events, other, milliseconds, &ready)
        if count >= 0:
            return ready if count else 0
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()
        if seconds > 0:
            seconds = max(end - monotonic(), 0.0)


cdef int wait_by_python(int descriptor, int events, object timeout, int other) except -1:
    cdef int ready = 0
    poller = select.poll()
    poller.register(descriptor, events)
    if other >= 0:
        poller.register(other, POLLIN)
    for found, _ in poller.poll(None if timeout is None else ceiling(timeout * 1000)):
        ready |= 1 if found == descriptor else 2
    return ready
