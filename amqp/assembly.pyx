"""A method, with its content, where all its frames lie in the read buffer already: assembly.py in C."""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize

from .basic_message cimport Message
from .read_buffer cimport ReadBuffer
from .tables cimport check_properties, get16, get32, get64, read_key

from .exceptions import FrameSyntaxError
from .spec import Basic
from .tables import loads

__all__ = ('next_method', 'take_arguments', 'take_message')

cdef enum:
    FRAME_METHOD = 1
    FRAME_HEADER = 2
    FRAME_BODY = 3
    FRAME_END = 206
    FRAME_OVERHEAD = 8
    # Class 60, methods 60 and 71; class 60, weight 0.
    DELIVER = 0x003C003C
    GET_OK = 0x003C0047
    CONTENT = 0x003C0000
    # Where the payload of a frame begins, and in it the arguments, the properties.
    PAYLOAD = 7
    ARGUMENTS = 4
    PROPERTIES = 12
    # What lies before the exchange, in basic.deliver behind the consumer tag;
    # and in basic.get-ok behind the routing key.
    DELIVERY_TAG_AND_REDELIVERED = 9
    MESSAGE_COUNT = 4

cdef object BASIC_DELIVER = Basic.Deliver
cdef object BASIC_GET_OK = Basic.GetOk
cdef bytes EMPTY = b''


cdef inline Py_ssize_t payload_size(
    const unsigned char* frame, Py_ssize_t available, int kind, unsigned int channel, Py_ssize_t most
) noexcept nogil:
    """The size of the payload of a frame that is there whole, as it should be; else -1."""
    cdef unsigned long long size
    if available < FRAME_OVERHEAD or frame[0] != kind or get16(frame + 1) != channel:
        return -1
    size = get32(frame + 3)
    if size > <unsigned long long>most or size > <unsigned long long>(available - FRAME_OVERHEAD):
        return -1
    if frame[PAYLOAD + size] != FRAME_END:
        return -1
    return <Py_ssize_t>size


cdef inline bint are_sound(const unsigned char* args, Py_ssize_t size, bint is_delivery) noexcept nogil:
    """Whether these are the arguments of such a method, to the octet; *args* has its ids before."""
    cdef Py_ssize_t at = ARGUMENTS
    if is_delivery:
        if size < ARGUMENTS + 1:
            return False
        at += 1 + args[at]
    at += DELIVERY_TAG_AND_REDELIVERED
    if at >= size:
        return False
    at += 1 + args[at]
    if at >= size:
        return False
    at += 1 + args[at]
    return at + (0 if is_delivery else MESSAGE_COUNT) == size


cpdef unsigned int next_method(ReadBuffer buffer) except? 0:
    """The ids of the method that *buffer* begins with, the class's in the upper 16 bits.

    0 where no frame of a method is there whole and in due form, but for those
    of the connection. Its channel is the buffer's ``channel_id`` then.
    """
    cdef const unsigned char* frame
    cdef Py_ssize_t available = buffer.end - buffer.start
    cdef unsigned int channel
    if available < FRAME_OVERHEAD or buffer.awaited is not None:
        return 0
    frame = <const unsigned char*>PyByteArray_AS_STRING(buffer.data) + buffer.start
    channel = get16(frame + 1)
    if channel == 0 or payload_size(
        frame, available, FRAME_METHOD, channel, buffer.frame_max - FRAME_OVERHEAD
    ) < ARGUMENTS:
        return 0
    buffer.channel_id = channel
    return get32(frame + PAYLOAD)


cpdef tuple take_arguments(ReadBuffer buffer, str format):
    """The arguments of the method that `next_method` has told of; None if not in due form."""
    cdef const unsigned char* frame = (
        <const unsigned char*>PyByteArray_AS_STRING(buffer.data) + buffer.start
    )
    cdef Py_ssize_t size = get32(frame + 3)
    cdef bytes payload = PyBytes_FromStringAndSize(<const char*>frame + PAYLOAD, size)
    try:
        args, end = loads(format, payload, ARGUMENTS)
    except FrameSyntaxError:
        return None
    if end != size:
        return None
    buffer.hand_out(buffer.start + size + FRAME_OVERHEAD, 1)
    return tuple(args)


cpdef Message take_message(ReadBuffer buffer, Py_ssize_t max_message_size):
    """The delivery or the basic.get-ok that *buffer* begins with; None if none in due form.

    :param max_message_size: the largest body to take, in octets.

    Its channel is the buffer's ``channel_id`` then, and a delivery's consumer
    its ``consumer_tag``.
    """
    cdef const unsigned char* method
    cdef const unsigned char* header
    cdef const unsigned char* body = NULL
    cdef Py_ssize_t available = buffer.end - buffer.start
    cdef Py_ssize_t most = buffer.frame_max - FRAME_OVERHEAD
    cdef Py_ssize_t size, header_size, body_size = 0
    cdef unsigned long long announced
    cdef unsigned int channel, ids
    cdef Message message
    if available < FRAME_OVERHEAD or buffer.awaited is not None:
        return None
    method = <const unsigned char*>PyByteArray_AS_STRING(buffer.data) + buffer.start
    channel = get16(method + 1)
    size = payload_size(method, available, FRAME_METHOD, channel, most)
    if size < ARGUMENTS or channel == 0:
        return None
    ids = get32(method + PAYLOAD)
    if ids != DELIVER and ids != GET_OK:
        return None
    available -= size + FRAME_OVERHEAD
    header = method + size + FRAME_OVERHEAD
    header_size = payload_size(header, available, FRAME_HEADER, channel, most)
    if header_size < PROPERTIES + 2 or get32(header + PAYLOAD) != CONTENT:
        return None
    available -= header_size + FRAME_OVERHEAD
    announced = get64(header + PAYLOAD + 4)
    if announced:
        body = header + header_size + FRAME_OVERHEAD
        body_size = payload_size(body, available, FRAME_BODY, channel, most)
        if body_size < 0 or <unsigned long long>body_size != announced or body_size > max_message_size:
            return None
        available -= body_size + FRAME_OVERHEAD
    if not are_sound(method + PAYLOAD, size, ids == DELIVER):
        return None
    message = Message.__new__(Message)
    if get16(header + PAYLOAD + PROPERTIES):
        try:
            check_properties(header + PAYLOAD + PROPERTIES, header_size - PROPERTIES)
        except FrameSyntaxError:
            return None
        message._octets = PyBytes_FromStringAndSize(
            <const char*>header + PAYLOAD + PROPERTIES, header_size - PROPERTIES
        )
    message.frame_method = BASIC_DELIVER if ids == DELIVER else BASIC_GET_OK
    message.frame_args = PyBytes_FromStringAndSize(<const char*>method + PAYLOAD, size)
    message._body = PyBytes_FromStringAndSize(<const char*>body + PAYLOAD, body_size) if body_size else EMPTY
    message.body_size = message.body_received = body_size
    message.header_received = True
    message._is_delivered = ids == DELIVER
    buffer.channel_id = channel
    if ids == DELIVER:
        buffer.consumer_tag = read_key(method + PAYLOAD + ARGUMENTS + 1, method[PAYLOAD + ARGUMENTS])
    buffer.frames_read += 3 if body_size else 2
    buffer.messages_read += 1
    buffer.start = buffer.end - available
    if not available:
        buffer.start = buffer.end = 0
    return message
