"""What is sent most, a message and its acknowledgement, as one run of octets each: outgoing.py in C."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.long cimport PyLong_Check
from libc.string cimport memcpy

from .basic_message cimport Message
from .tables cimport (
    Writer, append, close_writer, open_writer, put16, put32, put64, reserve, write_properties,
    write_short, written,
)

from .exceptions import EncodeError

__all__ = ('encode_publish', 'encode_settlement')

cdef enum:
    FRAME_METHOD = 1
    FRAME_HEADER = 2
    FRAME_BODY = 3
    FRAME_END = 206
    FRAME_OVERHEAD = 8
    PUBLISH = 0x003C0028
    CLASS_BASIC = 60
    # Up to here a body is joined with what goes before it: one copy is cheaper
    # than the bookkeeping of scatter/gather.
    JOIN_LIMIT = 32 * 1024

cdef bytes END = bytes([FRAME_END])

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    void* PyUnicode_DATA(object text)


cdef inline int put_header(unsigned char* at, int kind, unsigned int channel_id, size_t size) noexcept nogil:
    at[0] = <unsigned char>kind
    put16(at + 1, channel_id)
    put32(at + 3, <unsigned int>size)
    return 0


cdef bint is_encoded(Message message) except -1:
    """Whether the body's memory holds its octets already: a short text of ASCII in UTF-8."""
    cdef object encoding, body = message._body
    if type(body) is not str or type(message._properties) is not dict:
        return False
    encoding = (<dict>message._properties).get('content_encoding')
    return (
        type(encoding) is str
        and <str>encoding == 'utf-8'
        and len(<str>body) <= JOIN_LIMIT
        and PyUnicode_IS_COMPACT_ASCII(body)
    )


cpdef list encode_publish(
    unsigned int channel_id,
    Message message,
    object exchange,
    object routing_key,
    unsigned int flags,
    Py_ssize_t frame_max,
):
    """The frames of basic.publish, in one part or in three with the body between.

    :param flags: 1 mandatory, 2 immediate.
    :param frame_max: 0 is no limit.

    None: this takes a closer look.
    """
    cdef Writer writer
    cdef Py_ssize_t header, properties, size
    cdef object body
    cdef bint plain = type(message) is Message
    cdef unsigned char* at
    cdef const char* content = NULL
    cdef bytes octets
    if message is None:
        raise TypeError('None is not a Message')
    body = message._body
    open_writer(&writer)
    try:
        if not plain or message._is_text or not (type(body) is bytes or is_encoded(message)):
            body = message.encoded_body()
        size = len(body)
        reserve(&writer, 13)
        write_short(&writer, exchange)
        write_short(&writer, routing_key)
        at = reserve(&writer, 2 + 7 + 12)
        at[0] = <unsigned char>flags
        at[1] = FRAME_END
        at = writer.data
        header = writer.size - 19
        put_header(at, FRAME_METHOD, channel_id, header - FRAME_OVERHEAD)
        put32(at + 7, PUBLISH)
        put16(at + 11, 0)
        properties = writer.size
        if not plain:
            octets = message._serialize_properties()
            append(&writer, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))
        elif not message._properties and message._octets is None:
            put16(reserve(&writer, 2), 0)
        else:
            write_properties(&writer, message.properties)
        properties = writer.size - properties
        at = writer.data + header
        put_header(at, FRAME_HEADER, channel_id, properties + 12)
        put16(at + 7, CLASS_BASIC)
        put16(at + 9, 0)
        put64(at + 11, <unsigned long long>size)
        if frame_max and (
            size + FRAME_OVERHEAD > frame_max or properties + 12 + FRAME_OVERHEAD > frame_max
        ):
            return None
        reserve(&writer, 1)[0] = FRAME_END
        if not size:
            return [written(&writer)]
        put_header(reserve(&writer, 7), FRAME_BODY, channel_id, size)
        if type(body) is bytes:
            content = PyBytes_AS_STRING(body)
        elif type(body) is str:
            content = <const char*>PyUnicode_DATA(body)
        if size > JOIN_LIMIT or content == NULL:
            return [written(&writer), body, END]
        octets = PyBytes_FromStringAndSize(NULL, writer.size + size + 1)
        at = <unsigned char*>PyBytes_AS_STRING(octets)
        memcpy(at, writer.data, writer.size)
        memcpy(at + writer.size, content, size)
        at[writer.size + size] = FRAME_END
        return [octets]
    except EncodeError:
        return None
    finally:
        close_writer(&writer)


cpdef bytes encode_settlement(
    unsigned int channel_id, tuple method_sig, object delivery_tag, unsigned int flags
):
    """The frame of basic.ack, basic.nack or basic.reject.

    :param flags: their bits, the first of them in the lowest.

    None: this takes a closer look.
    """
    cdef bytes frame
    cdef unsigned char* at
    cdef unsigned long long tag
    if not PyLong_Check(delivery_tag):
        return None
    try:
        tag = delivery_tag
    except OverflowError:
        return None
    frame = PyBytes_FromStringAndSize(NULL, 21)
    at = <unsigned char*>PyBytes_AS_STRING(frame)
    put_header(at, FRAME_METHOD, channel_id, 13)
    put16(at + 7, <unsigned int>method_sig[0])
    put16(at + 9, <unsigned int>method_sig[1])
    put64(at + 11, tag)
    at[19] = <unsigned char>flags
    at[20] = FRAME_END
    return frame
