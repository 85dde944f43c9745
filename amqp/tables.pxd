# What other compiled modules may cimport from tables.pyx: writing and reading without objects between.
#
# Offsets and lengths within a buffer are Py_ssize_t. A length read off the wire is unsigned 32 bit
# and compared as long long before it becomes one: on a 32-bit machine it may not fit.
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

cdef enum:
    SMALL = 4000

# -- writing -------------------------------------------------------------------------------------

# Octets that grow: on the C stack at first, where a message without its body mostly fits, then in
# memory of their own. Not to be copied or moved: `data` may point into the struct itself.
#
#     cdef Writer writer
#     open_writer(&writer)
#     try:
#         write_short(&writer, routing_key)
#         ...
#         return written(&writer)
#     finally:
#         close_writer(&writer)
cdef struct Writer:
    unsigned char* data
    Py_ssize_t size
    Py_ssize_t capacity
    bint located  # an error on its way up names the key already
    unsigned char small[SMALL]

cdef inline void open_writer(Writer* writer) noexcept:
    writer.data = writer.small
    writer.size = 0
    writer.capacity = SMALL
    writer.located = False

cdef void close_writer(Writer* writer) noexcept

# Make room for `more` octets. They may lie elsewhere afterwards: keep offsets, not pointers.
cdef int grow(Writer* writer, Py_ssize_t more) except -1

# Append `count` octets, which the caller fills at the pointer returned.
cdef inline unsigned char* reserve(Writer* writer, Py_ssize_t count) except NULL:
    cdef unsigned char* at
    if count > writer.capacity - writer.size:
        grow(writer, count)
    at = writer.data + writer.size
    writer.size += count
    return at

cdef inline int append(Writer* writer, const void* octets, Py_ssize_t count) except -1:
    memcpy(reserve(writer, count), octets, <size_t>count)
    return 0

cdef int append_bytes(Writer* writer, bytes octets) except -1

cdef bytes written(Writer* writer)

# All raise `EncodeError` with the texts of tables.py.
cdef int write_short(Writer* writer, object value) except -1
cdef int write_table(Writer* writer, object value) except -1
cdef int write_properties(Writer* writer, object properties) except -1

# -- numbers in network order --------------------------------------------------------------------

cdef inline void put16(unsigned char* at, unsigned int number) noexcept nogil:
    at[0] = <unsigned char>(number >> 8 & 0xFF)
    at[1] = <unsigned char>(number & 0xFF)

cdef inline void put32(unsigned char* at, uint32_t number) noexcept nogil:
    at[0] = <unsigned char>(number >> 24)
    at[1] = <unsigned char>(number >> 16 & 0xFF)
    at[2] = <unsigned char>(number >> 8 & 0xFF)
    at[3] = <unsigned char>(number & 0xFF)

cdef inline void put64(unsigned char* at, unsigned long long number) noexcept nogil:
    put32(at, <uint32_t>(number >> 32))
    put32(at + 4, <uint32_t>(number & 0xFFFFFFFFu))

cdef inline unsigned int get16(const unsigned char* at) noexcept nogil:
    return <unsigned int>at[0] << 8 | at[1]

cdef inline uint32_t get32(const unsigned char* at) noexcept nogil:
    return (<uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | at[3])

cdef inline unsigned long long get64(const unsigned char* at) noexcept nogil:
    return <unsigned long long>get32(at) << 32 | get32(at + 4)

# -- reading -------------------------------------------------------------------------------------

# Those with `at` read what stands at offset `at[0]` of `data` and set it to where that ends; nothing
# at or beyond offset `end` is looked at. They raise `FrameSyntaxError` with the texts of tables.py.

# Text, or bytes where it is not UTF-8.
cdef object read_text(const unsigned char* data, Py_ssize_t size)

# The same for what comes again with every message: the same object, where it is remembered.
cdef object read_key(const unsigned char* data, Py_ssize_t size)

cpdef object read_longlong(bytes octets, Py_ssize_t offset)
cdef object read_short(const unsigned char* data, Py_ssize_t* at, Py_ssize_t end)
cdef dict read_table(const unsigned char* data, Py_ssize_t* at, Py_ssize_t end, int depth)
cdef dict read_properties(const unsigned char* data, Py_ssize_t* at, Py_ssize_t end)

# Raise what decode_properties_basic(data[:size], 0) would, and build nothing.
cdef int check_properties(const unsigned char* data, Py_ssize_t size) except -1
