# C declarations of sending.pyx, for the modules that use it.

cpdef Py_ssize_t send_parts(object sock, list parts) except? -1
cpdef bint is_plain(object sock) except -1
