# C types for serialization.py, and no logic: both builds must give the same results.
#
# Offsets and lengths within a buffer are Py_ssize_t. A length read off the wire is a long long
# until it has been checked: on a 32-bit machine it may not fit a Py_ssize_t. Values of 64 bits
# stay Python objects.
cimport cython

cdef dict _encoded_keys
cdef dict _decoded_keys
cdef dict _ITEM_ENCODERS
cdef dict _ARGUMENT_ENCODERS
cdef dict _FIXED_ITEMS
cdef dict _FIXED_ARGUMENTS
cdef tuple _OCTETS
cdef frozenset _CONTAINER_TAGS
cdef int _TABLE
cdef int _STRING
cdef int _BYTES
cdef int _VOID

cdef object _pack_tagged_size
cdef object _pack_long_into
cdef object _unpack_long

@cython.locals(raw=bytes)
cdef bytes _encode_short(object value)

@cython.locals(raw=bytes)
cpdef bytes _encode_long_string(object value)

cdef bytes _encode_key(object key)

@cython.locals(parents=list, start=Py_ssize_t, keyed=bint)
cdef _encode_container(object container, bytearray out)

cdef _encode_table(object value, bytearray out)

@cython.locals(out=bytearray, bits=int, bit=int, position=Py_ssize_t, letter=Py_UCS4)
cpdef bytes dumps(str format, object values)

cdef _text(bytes raw)

cdef _decode_key(bytes raw)

@cython.locals(stop=Py_ssize_t)
cdef tuple _decode_short(bytes buf, Py_ssize_t offset, Py_ssize_t end)

cdef tuple _decode_long(bytes buf, Py_ssize_t offset, Py_ssize_t end)
