# C declarations of assembly.pyx, for the modules that use it.
from .basic_message cimport Message
from .read_buffer cimport ReadBuffer

cpdef unsigned int next_method(ReadBuffer buffer) except? 0
cpdef tuple take_arguments(ReadBuffer buffer, str format)
cpdef Message take_message(ReadBuffer buffer, Py_ssize_t max_message_size)
