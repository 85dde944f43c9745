# C declarations of assembly.pyx, for the modules that use it.
from .basic_message cimport Message
from .read_buffer cimport ReadBuffer

cpdef Message take_delivery(ReadBuffer buffer, Py_ssize_t max_message_size)
