# cython: boundscheck=False, wraparound=False
"""The same as assembly.py, in C: see there."""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcmp

from .basic_message cimport Message
from .read_buffer cimport ReadBuffer

from .exceptions import FrameSyntaxError
from .serialization import _text, decode_properties_basic
from .spec import Basic

cdef object DELIVER = Basic.Deliver

cdef inline unsigned int short_at(const unsigned char* p) noexcept nogil:
    return (p[0] << 8) | p[1]

cdef inline unsigned int long_at(const unsigned char* p) noexcept nogil:
    return (<unsigned int> p[0] << 24) | (<unsigned int> p[1] << 16) | (<unsigned int> p[2] << 8) | p[3]


cpdef Message take_delivery(ReadBuffer buffer, Py_ssize_t max_size):
    cdef const unsigned char* data = <const unsigned char*> PyByteArray_AS_STRING(buffer.data)
    cdef const unsigned char* p = data + buffer.start
    cdef Py_ssize_t left = buffer.end - buffer.start
    cdef Py_ssize_t size, hsize, bsize, args, largest
    cdef unsigned int channel
    cdef Message m
    if left < 26 + 22 or p[0] != 1:
        return None
    largest = buffer.frame_max - 8
    channel = short_at(p + 1)
    size = long_at(p + 3)
    if long_at(p + 7) != 0x003c003c or size > largest or left < size + 8 + 22 or p[7 + size] != 206:
        return None
    # args
    args = 5 + p[11]      # tag
    args += 9
    if args + 1 > size: return None
    args += 1 + p[7 + args]
    if args + 1 > size: return None
    args += 1 + p[7 + args]
    if args != size: return None
    cdef const unsigned char* h = p + size + 8
    left -= size + 8
    hsize = long_at(h + 3)
    if h[0] != 2 or short_at(h + 1) != channel or long_at(h + 7) != 0x003c0000 or hsize > largest or hsize < 14 or left < hsize + 8 or h[7 + hsize] != 206 or long_at(h + 11) != 0:
        return None
    bsize = long_at(h + 15)
    left -= hsize + 8
    if bsize > max_size or bsize > largest: return None
    cdef const unsigned char* b = h + hsize + 8
    cdef Py_ssize_t frames = 2
    if bsize:
        if left < bsize + 8 or b[0] != 3 or short_at(b + 1) != channel or long_at(b + 3) != bsize or b[7 + bsize] != 206:
            return None
        frames = 3
        left -= bsize + 8
    m = Message.__new__(Message)
    m.frame_method = DELIVER
    m.frame_args = PyBytes_FromStringAndSize(<const char*> p + 7, size)
    m._properties = None
    if short_at(h + 19) == 0:
        m._header = None
    else:
        m._header = PyBytes_FromStringAndSize(<const char*> h + 7, hsize)
        try:
            m._properties = decode_properties_basic(m._header, 12)[0]
        except FrameSyntaxError:
            return None
        m._header = None
    m._body = PyBytes_FromStringAndSize(<const char*> b + 7, bsize) if bsize else b''
    m._is_delivered = True
    buffer.channel_id = channel
    cdef Py_ssize_t n = p[11]
    if buffer._tag_octets is None or PyBytes_GET_SIZE(buffer._tag_octets) != n or memcmp(PyBytes_AS_STRING(buffer._tag_octets), p + 12, n) != 0:
        buffer._tag_octets = PyBytes_FromStringAndSize(<const char*> p + 12, n)
        buffer.consumer_tag = _text(buffer._tag_octets)
    m.header_received = True
    m.body_size = bsize
    m.body_received = bsize
    buffer.start = buffer.end - left
    if not left:
        buffer.start = buffer.end = 0
    buffer.frames_read += frames
    return m
