# C types for serialization.py, and no logic: both builds must give the same results.
#
# Offsets and lengths within a buffer are Py_ssize_t. A length read off the wire is a long long
# until it has been checked: on a 32-bit machine it may not fit a Py_ssize_t. Values of 64 bits
# stay Python objects. Arguments that callers hand in are objects too: `dict` or `bytes` here would
# refuse subclasses, which the pure build accepts. (Formats are written in this package: str.)
cimport cython

cdef dict _encoded_keys
cdef dict _decoded_keys
cdef dict _ITEM_ENCODERS
cdef dict _ARGUMENT_ENCODERS
cdef dict _FIXED_ITEMS
cdef dict _FIXED_ARGUMENTS
cdef list _FLAGGED_PROPERTIES
cdef tuple _OCTETS
cdef frozenset _CONTAINER_TAGS
cdef int _TABLE
cdef int _STRING
cdef int _BYTES
cdef int _VOID

cdef object _pack_octet
cdef object _pack_longlong
cdef object _pack_long_into
cdef object _pack_tagged_size
cdef object _unpack_long

# Encoding

@cython.locals(raw=bytes)
cdef bytes _encode_short(object value)

cdef bytes _encode_key(object key)

cdef object _item_encoder(object value)

cdef object _entries(object container)

cdef str _key_path(list parents, bint keyed, object key)

@cython.locals(parents=list, start=Py_ssize_t, keyed=bint, raw=bytes)
cdef object _encode_container(object container, bytearray out)

cdef object _encode_table(object value, bytearray out)

cdef object _encode_array(object value, bytearray out)

cdef object _argument_encoder(str letter)

@cython.locals(out=bytearray, bits=int, bit=int, position=Py_ssize_t, letter=Py_UCS4)
cpdef bytes dumps(str format, object values)

@cython.locals(out=bytearray, flags=int, flag=int, name=str, letter=str)
cpdef bytes encode_properties(object properties)

# Decoding

cpdef object _text(bytes raw)

cdef object _decode_key(bytes raw)

@cython.locals(data=bytes)
cdef bytes _to_bytes(object buf, Py_ssize_t offset)

@cython.locals(stop=Py_ssize_t)
cdef tuple _decode_short(bytes buf, Py_ssize_t offset, Py_ssize_t end)

@cython.locals(size=cython.longlong, stop=Py_ssize_t)
cdef tuple _decode_long(bytes buf, Py_ssize_t offset, Py_ssize_t end)

@cython.locals(size=Py_ssize_t)
cdef tuple _decode_fixed(object fixed, bytes buf, Py_ssize_t offset, Py_ssize_t end)

cdef tuple _decode_scalar(int tag, bytes buf, Py_ssize_t offset, Py_ssize_t end)

@cython.locals(size=cython.longlong)
cdef Py_ssize_t _contents_end(bytes buf, Py_ssize_t offset, Py_ssize_t end) except -1

@cython.locals(parents=list, stop=Py_ssize_t, raw=bytes, tag=int)
cdef tuple _decode_container(bytes buf, Py_ssize_t offset, Py_ssize_t end, bint keyed)

@cython.locals(data=bytes, end=Py_ssize_t, tag=int)
cpdef tuple _read_item(object buf, Py_ssize_t offset)

cdef tuple _decode_argument(str letter, bytes buf, Py_ssize_t offset, Py_ssize_t end)

@cython.locals(data=bytes, end=Py_ssize_t, values=list, bits=int, bits_left=int, letter=str)
cpdef tuple loads(str format, object buf, Py_ssize_t offset)

@cython.locals(data=bytes, end=Py_ssize_t, properties=dict, flags=int, flag=int, name=str, letter=str)
cpdef tuple decode_properties_basic(object buf, Py_ssize_t offset)
