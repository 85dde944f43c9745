# C declarations of outgoing.pyx, for the modules that use it.
from .basic_message cimport Message

cpdef list encode_publish(
    unsigned int channel_id,
    Message message,
    object exchange,
    object routing_key,
    unsigned int flags,
    Py_ssize_t frame_max,
)
cpdef bytes encode_settlement(
    unsigned int channel_id, tuple method_sig, object delivery_tag, unsigned int flags
)
