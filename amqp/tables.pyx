"""The field codec in C: see tables.py, its twin, for what it does, and for every docstring.

What is frequent on the wire goes between memory and objects directly; whatever is rare, odd or to
be refused goes to `amqp.scalars`, which the twin uses too. Nested containers recurse, for MAX_DEPTH
bounds that: 128 small frames of the C stack, and none of Python's.

On a free-threaded interpreter, a dict or a list is held in a critical section while it is walked;
remembered keys are put into their slots once, atomically, and stay.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next, PyDict_SetItem, PyDict_Size
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.unicode cimport (
    PyUnicode_AsEncodedString,
    PyUnicode_CheckExact,
    PyUnicode_DecodeUTF8,
    PyUnicode_GET_LENGTH,
)
from libc.math cimport isfinite
from libc.stdint cimport INT32_MAX, INT32_MIN, int16_t, int32_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from struct import error as struct_error
from sys import intern

from .exceptions import EncodeError
from .scalars import (
    BASIC_PROPERTIES,
    ITEM_ENCODERS,
    at_key,
    check_array,
    check_table,
    decoded_too_deep,
    encode_argument,
    encode_item,
    encode_key,
    encode_short,
    entries,
    is_array,
    is_table,
    misfit,
    past_end,
    to_bytes,
    to_datetime,
    to_decimal,
    too_deep,
    unknown_flags,
    unknown_letter,
    unknown_tag,
)

cdef extern from *:
    """
    /* A slot is filled once, and what is in it is never let go: a pointer got from it stays good. */
    #ifdef Py_GIL_DISABLED
    #define amqp_slot_load(slot) _Py_atomic_load_ptr_acquire(slot)
    static int amqp_slot_fill(void **slot, void *value) {
        void *empty = NULL;
        return _Py_atomic_compare_exchange_ptr(slot, &empty, value);
    }
    #else
    #define amqp_slot_load(slot) (*(slot))
    static int amqp_slot_fill(void **slot, void *value) {
        if (*slot != NULL) return 0;
        *slot = value;
        return 1;
    }
    #endif
    """
    void* amqp_slot_load(void** slot)
    int amqp_slot_fill(void** slot, void* value)

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    void* PyUnicode_DATA(object text)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)


cdef enum:
    DEEPEST = 128  # scalars.MAX_DEPTH
    LONGEST = 0x7FFFFF00  # strings beyond take the way of rare values, which knows all the limits
    KEY_SLOTS = 1024
    KEY_PROBES = 4
    KEY_SIZE = 64

cdef unsigned char TABLE = b'F'
cdef unsigned char ARRAY = b'A'

# -- remembered keys -----------------------------------------------------------------------------

# A key and its octets: those of up to 16 are compared as two words, which may overlap.
cdef struct Key:
    uint64_t first
    uint64_t last
    Py_ssize_t size
    PyObject* text

# Keys of tables, by a hash of their octets. ASCII only. When a peer invents keys and has filled the
# slots of a hash, further ones are merely decoded anew each time.
cdef Key* _keys[KEY_SLOTS]


cdef inline uint64_t load64(const unsigned char* data) noexcept:
    cdef uint64_t number
    memcpy(&number, data, 8)
    return number


cdef inline uint64_t load32(const unsigned char* data) noexcept:
    cdef uint32_t number
    memcpy(&number, data, 4)
    return number


cdef object read_key(const unsigned char* data, Py_ssize_t size):
    cdef uint64_t first, last, mixed
    cdef size_t slot
    cdef int probe
    cdef Key* found
    if size >= 8:
        if size > KEY_SIZE:
            return read_text(data, size)
        first = load64(data)
        last = load64(data + size - 8)
    elif size >= 4:
        first = load32(data)
        last = load32(data + size - 4)
    elif size:
        first = data[0]
        last = <uint64_t>data[size >> 1] << 8 | data[size - 1]
    else:
        return read_text(data, size)
    mixed = (first ^ <uint64_t>size) * 0x9E3779B97F4A7C15u
    mixed = (mixed >> 29 ^ last) * 0xBF58476D1CE4E5B9u
    slot = <size_t>(mixed >> 40) & (KEY_SLOTS - 1)
    for probe in range(KEY_PROBES):
        found = <Key*>amqp_slot_load(<void**>&_keys[slot])
        if found == NULL:
            return remembered(data, size, first, last, <void**>&_keys[slot])
        if (
            found.first == first
            and found.last == last
            and found.size == size
            and (size <= 16 or memcmp(PyUnicode_DATA(<object>found.text), data, <size_t>size) == 0)
        ):
            return <object>found.text
        slot = (slot + 1) & (KEY_SLOTS - 1)
    return read_text(data, size)


cdef object remembered(
    const unsigned char* data, Py_ssize_t size, uint64_t first, uint64_t last, void** slot
):
    """Decode a key, and put it into an empty slot."""
    cdef Key* made
    key = read_text(data, size)
    if not PyUnicode_CheckExact(key) or not PyUnicode_IS_COMPACT_ASCII(key):
        return key
    made = <Key*>PyMem_Malloc(sizeof(Key))
    if made == NULL:
        raise MemoryError
    key = intern(key)
    made.first = first
    made.last = last
    made.size = size
    made.text = <PyObject*>key
    Py_INCREF(key)
    if not amqp_slot_fill(slot, made):
        Py_DECREF(key)  # another thread was first
        PyMem_Free(made)
    return key


# -- writing -------------------------------------------------------------------------------------


cdef void close_writer(Writer* writer) noexcept:
    if writer.data != writer.small:
        PyMem_Free(writer.data)
        writer.data = writer.small


cdef int grow(Writer* writer, Py_ssize_t more) except -1:
    cdef size_t wanted = <size_t>writer.size + <size_t>more
    cdef unsigned char* data
    if wanted > <size_t>PY_SSIZE_T_MAX // 2:
        raise MemoryError
    if writer.data == writer.small:
        data = <unsigned char*>PyMem_Malloc(wanted * 2)
        if data != NULL:
            memcpy(data, writer.data, <size_t>writer.size)
    else:
        data = <unsigned char*>PyMem_Realloc(writer.data, wanted * 2)
    if data == NULL:
        raise MemoryError
    writer.data = data
    writer.capacity = <Py_ssize_t>(wanted * 2)
    return 0


cdef bytes written(Writer* writer):
    return PyBytes_FromStringAndSize(<char*>writer.data, writer.size)


cdef int append_bytes(Writer* writer, bytes octets) except -1:
    return append(writer, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))


cdef inline int append_octet(Writer* writer, unsigned char octet) except -1:
    reserve(writer, 1)[0] = octet
    return 0


cdef int write_short(Writer* writer, object value) except -1:
    cdef Py_ssize_t size
    cdef unsigned char* at
    if PyUnicode_CheckExact(value) and PyUnicode_IS_COMPACT_ASCII(value):
        size = PyUnicode_GET_LENGTH(value)
        if size <= 255:
            at = reserve(writer, size + 1)
            at[0] = <unsigned char>size
            memcpy(at + 1, PyUnicode_DATA(value), <size_t>size)
            return 0
    elif value is None:
        return append_octet(writer, 0)
    return append_bytes(writer, encode_short(value))


cdef inline int write_key(Writer* writer, object key) except -1:
    if PyUnicode_CheckExact(key):
        return write_short(writer, key)
    return append_bytes(writer, encode_key(key))


cdef inline int write_ascii(Writer* writer, object value, Py_ssize_t size) except -1:
    """Append a long string of ASCII, without a tag."""
    cdef unsigned char* at = reserve(writer, size + 4)
    put32(at, <uint32_t>size)
    memcpy(at + 4, PyUnicode_DATA(value), <size_t>size)
    return 0


cdef int write_text(Writer* writer, object value) except -1:
    """Append a str and its tag."""
    cdef Py_ssize_t size
    cdef unsigned char* at
    if PyUnicode_IS_COMPACT_ASCII(value):
        size = PyUnicode_GET_LENGTH(value)
        if size <= LONGEST:
            at = reserve(writer, size + 5)
            at[0] = b'S'
            put32(at + 1, <uint32_t>size)
            memcpy(at + 5, PyUnicode_DATA(value), <size_t>size)
            return 0
    else:
        raw = PyUnicode_AsEncodedString(value, b'utf-8', b'surrogatepass')
        size = PyBytes_GET_SIZE(raw)
        if size <= LONGEST:
            at = reserve(writer, size + 5)
            at[0] = b'S'
            put32(at + 1, <uint32_t>size)
            memcpy(at + 5, PyBytes_AS_STRING(raw), <size_t>size)
            return 0
    return append_bytes(writer, encode_item(value))


# The way from the outermost container to the value at hand, on the C stack.
cdef struct Step:
    Step* up
    PyObject* key  # borrowed from a frame that still holds it
    Py_ssize_t index
    int depth
    bint keyed


cdef object located(Writer* writer, Step* step, object error):
    """Return the error to raise in place of one that names no key."""
    cdef list path = []
    writer.located = True
    while step != NULL:
        if step.keyed:
            path.append((True, <object>step.key))
        else:
            path.append((False, step.index))
        step = step.up
    path.reverse()
    return at_key(path, error)


cdef int write_int(Writer* writer, object value) except -1:
    cdef int overflow = 0
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
    cdef unsigned char* at
    if overflow:
        return append_bytes(writer, encode_item(value))  # which raises
    if INT32_MIN <= number <= INT32_MAX:
        at = reserve(writer, 5)
        at[0] = b'I'
        put32(at + 1, <uint32_t><int32_t>number)
    else:
        at = reserve(writer, 9)
        at[0] = b'l'
        put64(at + 1, <unsigned long long>number)
    return 0


cdef int write_float(Writer* writer, object value) except -1:
    cdef double number = PyFloat_AS_DOUBLE(value)
    cdef uint64_t bits
    cdef unsigned char* at
    if not isfinite(number):
        return append_bytes(writer, encode_item(value))  # which raises
    memcpy(&bits, &number, 8)
    at = reserve(writer, 9)
    at[0] = b'd'
    put64(at + 1, bits)
    return 0


cdef int write_child(Writer* writer, object value, bint keyed, Step* up) except -1:
    """Append a container within a container, and its tag."""
    if up.depth + 1 > DEEPEST:
        raise too_deep()
    append_octet(writer, TABLE if keyed else ARRAY)
    return write_container(writer, value, keyed, up)


cdef int write_rare(Writer* writer, object value, Step* up) except -1:
    if type(value) not in ITEM_ENCODERS:
        if is_table(value):
            return write_child(writer, value, True, up)
        if is_array(value):
            return write_child(writer, value, False, up)
    return append_bytes(writer, encode_item(value))


cdef int write_value(Writer* writer, object value, Step* up) except -1:
    """Append a value of a container, its tag first."""
    cdef unsigned char* at
    if PyUnicode_CheckExact(value):
        return write_text(writer, value)
    if value is None:
        return append_octet(writer, b'V')
    if value is True or value is False:
        at = reserve(writer, 2)
        at[0] = b't'
        at[1] = value is True
        return 0
    if PyLong_CheckExact(value):
        return write_int(writer, value)
    if type(value) is list or type(value) is tuple:
        return write_child(writer, value, False, up)
    if type(value) is dict:
        return write_child(writer, value, True, up)
    if PyFloat_CheckExact(value):
        return write_float(writer, value)
    return write_rare(writer, value, up)


cdef int write_container(Writer* writer, object container, bint keyed, Step* up) except -1:
    """Append a table (*keyed*) or an array, its length first, without a tag."""
    cdef Py_ssize_t start = writer.size
    cdef Py_ssize_t size
    cdef Step step
    step.up = up
    step.depth = up.depth + 1 if up != NULL else 1
    step.key = NULL
    step.index = 0
    step.keyed = keyed
    reserve(writer, 4)
    if type(container) is dict:
        write_dict(writer, <dict>container, &step)
    elif type(container) is list:
        write_list(writer, <list>container, &step)
    elif type(container) is tuple:
        write_tuple(writer, <tuple>container, &step)
    else:
        write_entries(writer, container, &step)
    size = writer.size - start - 4
    if <long long>size > 0xFFFFFFFF:
        encode_argument('l', size)  # which raises
    put32(writer.data + start, <uint32_t>size)
    return 0


cdef int write_dict(Writer* writer, dict table, Step* step) except -1:
    cdef Py_ssize_t position = 0
    cdef Py_ssize_t size = PyDict_Size(table)
    cdef Py_ssize_t seen = 0
    cdef PyObject* key_there
    cdef PyObject* value_there
    cdef object key
    cdef object value
    try:
        with cython.critical_section(table):
            while PyDict_Next(table, &position, &key_there, &value_there):
                # What Python runs for a value may change the table: these keep what is in hand.
                key = <object>key_there
                value = <object>value_there
                step.key = key_there
                seen += 1
                if seen > size:
                    raise RuntimeError('dictionary keys changed during iteration')
                write_key(writer, key)
                write_value(writer, value, step)
                if PyDict_Size(table) != size:
                    raise RuntimeError('dictionary changed size during iteration')
    except EncodeError as exc:
        if writer.located:
            raise
        raise located(writer, step, exc) from None
    return 0


cdef int write_list(Writer* writer, list array, Step* step) except -1:
    cdef object value
    try:
        with cython.critical_section(array):
            while step.index < PyList_GET_SIZE(array):
                value = <object>PyList_GET_ITEM(array, step.index)
                write_value(writer, value, step)
                step.index += 1
    except EncodeError as exc:
        if writer.located:
            raise
        raise located(writer, step, exc) from None
    return 0


cdef int write_tuple(Writer* writer, tuple array, Step* step) except -1:
    try:
        for value in array:
            write_value(writer, value, step)
            step.index += 1
    except EncodeError as exc:
        if writer.located:
            raise
        raise located(writer, step, exc) from None
    return 0


cdef int write_entries(Writer* writer, object container, Step* step) except -1:
    """Append what a container of another type, a subclass say, gives when iterated over."""
    cdef object key = None
    cdef object value
    try:
        for key, value in entries(container):
            step.key = <PyObject*>key
            if step.keyed:
                write_key(writer, key)
            else:
                step.index = key
            write_value(writer, value, step)
    except EncodeError as exc:
        if writer.located:
            raise
        step.key = <PyObject*>key
        raise located(writer, step, exc) from None
    return 0


cdef int write_table(Writer* writer, object value) except -1:
    if value is None:
        put32(reserve(writer, 4), 0)
        return 0
    if type(value) is not dict:
        check_table(value)
    return write_container(writer, value, True, NULL)


cdef int write_array(Writer* writer, object value) except -1:
    if value is None:
        put32(reserve(writer, 4), 0)
        return 0
    check_array(value)
    return write_container(writer, value, False, NULL)


def _write_table(d, write, bits):
    """Write a table with its length; *bits* is not used."""
    cdef Writer writer
    open_writer(&writer)
    try:
        write_table(&writer, d)
        octets = written(&writer)
    finally:
        close_writer(&writer)
    write(octets)


def _write_array(list_, write, bits):
    """Write an array with its length; *bits* is not used."""
    cdef Writer writer
    open_writer(&writer)
    try:
        write_array(&writer, list_)
        octets = written(&writer)
    finally:
        close_writer(&writer)
    write(octets)


def _write_item(v, write, bits):
    """Write one value as it stands in a table: its tag, then itself; *bits* is not used."""
    cdef Writer writer
    if v is None:
        write(b'V')
    elif is_table(v) or is_array(v):
        open_writer(&writer)
        try:
            append_octet(&writer, TABLE if is_table(v) else ARRAY)
            write_container(&writer, v, is_table(v), NULL)
            octets = written(&writer)
        finally:
            close_writer(&writer)
        write(octets)
    else:
        write(encode_item(v))


cdef int write_argument(Writer* writer, Py_UCS4 letter, object value) except -1:
    """Append an argument of any type but bit."""
    cdef int overflow = 0
    cdef long long number
    if letter == 's':
        return write_short(writer, value)
    if letter == 'F':
        return write_table(writer, value)
    if letter == 'A':
        return write_array(writer, value)
    if letter == 'S' or letter == 'x':
        if PyUnicode_CheckExact(value) and PyUnicode_IS_COMPACT_ASCII(value):
            if PyUnicode_GET_LENGTH(value) <= LONGEST:
                return write_ascii(writer, value, PyUnicode_GET_LENGTH(value))
    elif PyLong_CheckExact(value):
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if number >= 0 and not overflow:
            if letter == 'o' and number <= 0xFF:
                return append_octet(writer, <unsigned char>number)
            if letter == 'B' and number <= 0xFFFF:
                put16(reserve(writer, 2), <unsigned int>number)
                return 0
            if letter == 'l' and number <= 0xFFFFFFFF:
                put32(reserve(writer, 4), <uint32_t>number)
                return 0
            if letter == 'L' or letter == 'T':
                put64(reserve(writer, 8), <unsigned long long>number)
                return 0
    return append_bytes(writer, encode_argument(letter, value))


cdef int write_arguments(Writer* writer, str format, object values, Py_ssize_t* position) except -1:
    """Append a value for each letter of *format*; *position* is the one at hand."""
    cdef unsigned int bits = 0
    cdef unsigned int bit = 1
    cdef Py_UCS4 letter
    for letter in format:
        value = values[position[0]]
        if letter == 'b':
            if bit == 256:
                append_octet(writer, <unsigned char>bits)
                bits = 0
                bit = 1
            if value:
                bits |= bit
            bit <<= 1
        else:
            if bit != 1:
                append_octet(writer, <unsigned char>bits)
                bits = 0
                bit = 1
            write_argument(writer, letter, value)
        position[0] += 1
    if bit != 1:
        append_octet(writer, <unsigned char>bits)
    return 0


def dumps(str format not None, values):
    """Encode *values*, one for each letter of *format*.

    Letters: b bit (by truth; neighbours share octets, the first in the lowest bit), o octet,
    B short, l long, L longlong (all unsigned), s short string, S and x long string, F table,
    A array, T timestamp. None is empty for s, S, x, F and A.

    Raises `EncodeError`, whose ``position`` is the index of the value at fault.
    """
    cdef Writer writer
    cdef Py_ssize_t position = 0
    if len(values) != len(format):
        raise EncodeError(f'format {format!r} takes {len(format)} values, not {len(values)}')
    open_writer(&writer)
    try:
        write_arguments(&writer, format, values, &position)
        return written(&writer)
    except EncodeError as exc:
        exc.position = position
        raise
    except struct_error:
        error = misfit(format[position], values[position])
        error.position = position
        raise error from None
    finally:
        close_writer(&writer)


cdef tuple _names = tuple([intern(name) for name, _ in BASIC_PROPERTIES])
cdef bytes _letters = ''.join([letter for _, letter in BASIC_PROPERTIES]).encode()
cdef enum:
    PROPERTIES = 14


cdef int write_properties(Writer* writer, object properties) except -1:
    cdef Py_ssize_t start = writer.size
    cdef unsigned int flags = 0
    cdef unsigned char letter = b's'
    cdef const unsigned char* letters = <const unsigned char*>PyBytes_AS_STRING(_letters)
    cdef Py_ssize_t index, left = len(properties)
    cdef object name = None
    cdef object value = None
    reserve(writer, 2)
    try:
        for index in range(PROPERTIES):
            if not left:
                break
            name = _names[index]
            if type(properties) is dict:
                value = (<dict>properties).get(name)
            else:
                value = properties.get(name)
            if value is None:
                continue
            left -= 1
            flags |= 0x8000u >> index
            letter = letters[index]
            if letter == b's':
                write_short(writer, value)
            elif letter == b'F':
                write_table(writer, value)
            elif letter == b'o':
                write_argument(writer, 'o', value)
            else:
                write_argument(writer, 'T', value)  # a longlong, which may be a datetime
    except EncodeError as exc:
        raise EncodeError(f'property {name!r}: {exc.reply_text}') from None
    except struct_error:
        reason = misfit(chr(letter), value).reply_text
        raise EncodeError(f'property {name!r}: {reason}') from None
    put16(writer.data + start, flags)
    return 0


def encode_properties(properties):
    """Encode properties of class basic: flags, then values (AMQP 0-9-1 §4.2.6.1).

    A property that is None or missing is not sent; names that are not AMQP's are passed over.
    Raises `EncodeError`, naming the property.
    """
    cdef Writer writer
    open_writer(&writer)
    try:
        write_properties(&writer, properties)
        return written(&writer)
    finally:
        close_writer(&writer)


# -- reading -------------------------------------------------------------------------------------


cdef inline bint is_ascii(const unsigned char* data, Py_ssize_t size) noexcept:
    cdef uint64_t together = 0
    cdef Py_ssize_t at = 0
    if size >= 8:
        while at < size - 8:
            together |= load64(data + at)
            at += 8
        together |= load64(data + size - 8)  # overlaps
    else:
        while at < size:
            together |= data[at]
            at += 1
    return not together & 0x8080808080808080u


cdef object read_text(const unsigned char* data, Py_ssize_t size):
    if size > 1 and is_ascii(data, size):
        text = PyUnicode_New(size, 127)
        memcpy(PyUnicode_DATA(text), data, <size_t>size)
        return text
    try:
        return PyUnicode_DecodeUTF8(<const char*>data, size, b'surrogatepass')
    except UnicodeDecodeError:
        return PyBytes_FromStringAndSize(<const char*>data, size)


cdef object read_short(const unsigned char* data, Py_ssize_t* at, Py_ssize_t end):
    cdef Py_ssize_t offset = at[0]
    cdef Py_ssize_t size
    if offset >= end:
        raise past_end('short string', offset, end)
    size = data[offset]
    if size > end - offset - 1:
        raise past_end('short string', offset, end)
    at[0] = offset + 1 + size
    return read_text(data + offset + 1, size)


cdef Py_ssize_t long_size(const unsigned char* data, Py_ssize_t offset, Py_ssize_t end) except -1:
    """Return the size of the long string whose length stands at *offset*."""
    cdef long long size
    if end - offset < 4:
        raise past_end('long string', offset, end)
    size = get32(data + offset)
    if size > end - offset - 4:
        raise past_end('long string', offset, end)
    return <Py_ssize_t>size


cdef Py_ssize_t contents_end(
    const unsigned char* data, Py_ssize_t offset, Py_ssize_t end
) except -1:
    """Return where the table or array whose length stands at *offset* ends."""
    cdef long long size
    if end - offset < 4:
        raise past_end('length of a table or an array', offset, end)
    size = get32(data + offset)
    if size > end - offset - 4:
        raise past_end(f'table or array of {size} bytes', offset, end)
    return offset + 4 + <Py_ssize_t>size


# Tag -> size, of values whose size is fixed; 0 for all other octets.
cdef unsigned char _fixed_sizes[256]
cdef int _tag
for _tag in range(256):
    _fixed_sizes[_tag] = 0
for _tag in b'tbB':
    _fixed_sizes[_tag] = 1
for _tag in b'su':
    _fixed_sizes[_tag] = 2
for _tag in b'Iif':
    _fixed_sizes[_tag] = 4
for _tag in b'lLdT':
    _fixed_sizes[_tag] = 8
_fixed_sizes[<unsigned char>b'D'] = 5


cdef object read_fixed(unsigned char tag, const unsigned char* at):
    """Return the value of fixed size that stands at *at*."""
    cdef uint32_t bits32
    cdef uint64_t bits64
    cdef float single
    cdef double number
    if tag == b't':
        return at[0] != 0
    if tag == b'I':
        return <int32_t>get32(at)
    if tag == b'l' or tag == b'L':
        return <long long>get64(at)
    if tag == b'd':
        bits64 = get64(at)
        memcpy(&number, &bits64, 8)
        return number
    if tag == b'b':
        return <signed char>at[0]
    if tag == b'B':
        return at[0]
    if tag == b's':
        return <int16_t>get16(at)
    if tag == b'u':
        return get16(at)
    if tag == b'i':
        return get32(at)
    if tag == b'f':
        bits32 = get32(at)
        memcpy(&single, &bits32, 4)
        return <double>single
    if tag == b'D':
        return to_decimal(at[0], <int32_t>get32(at + 1))
    return to_datetime(get64(at))


cdef object read_value(const unsigned char* data, Py_ssize_t* at, Py_ssize_t end, int depth):
    """Read a value, its tag first; the caller has seen that the tag is there."""
    cdef unsigned char tag = data[at[0]]
    cdef Py_ssize_t offset = at[0] + 1
    cdef Py_ssize_t size
    if tag == b'S':
        size = long_size(data, offset, end)
        at[0] = offset + 4 + size
        return read_text(data + offset + 4, size)
    if tag == b'V':
        at[0] = offset
        return None
    size = _fixed_sizes[tag]
    if size:
        if size > end - offset:
            raise past_end(f'value of {size} bytes', offset, end)
        at[0] = offset + size
        return read_fixed(tag, data + offset)
    if tag == TABLE or tag == ARRAY:
        if depth + 1 > DEEPEST:
            raise decoded_too_deep()
        at[0] = offset
        if tag == TABLE:
            return read_table(data, at, end, depth + 1)
        return read_array(data, at, end, depth + 1)
    if tag == b'x':
        size = long_size(data, offset, end)
        at[0] = offset + 4 + size
        return PyBytes_FromStringAndSize(<const char*>data + offset + 4, size)
    raise unknown_tag(tag, offset)


cdef dict read_table(const unsigned char* data, Py_ssize_t* at, Py_ssize_t end, int depth):
    cdef Py_ssize_t offset = at[0]
    cdef Py_ssize_t size
    cdef dict table = {}
    end = contents_end(data, offset, end)
    offset += 4
    while offset != end:
        size = data[offset]
        if size >= end - offset - 1:  # not even a tag can follow
            raise past_end('table entry', offset, end)
        key = read_key(data + offset + 1, size)
        offset += 1 + size
        if data[offset] == b'V':
            offset += 1
            PyDict_SetItem(table, key, None)
            continue
        at[0] = offset
        value = read_value(data, at, end, depth)
        offset = at[0]
        PyDict_SetItem(table, key, value)
    at[0] = end
    return table


cdef list read_array(const unsigned char* data, Py_ssize_t* at, Py_ssize_t end, int depth):
    cdef list array = []
    end = contents_end(data, at[0], end)
    at[0] += 4
    while at[0] != end:
        array.append(read_value(data, at, end, depth))
    return array


def _read_item(buf, Py_ssize_t offset):
    """Decode one value as it stands in a table, its tag first; return it and where it ends."""
    cdef bytes data = to_bytes(buf, offset)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(data)
    if offset == end:
        raise past_end('table value', offset, end)
    # Not within a container: depth 0.
    value = read_value(<const unsigned char*>PyBytes_AS_STRING(data), &offset, end, 0)
    return value, offset


cdef object read_unsigned(
    const unsigned char* data, Py_ssize_t* at, Py_ssize_t end, Py_UCS4 letter
):
    """Read an argument of fixed size, or raise for a letter that is none."""
    cdef Py_ssize_t offset = at[0]
    cdef Py_ssize_t size
    if letter == 'o':
        size = 1
    elif letter == 'B':
        size = 2
    elif letter == 'l':
        size = 4
    elif letter == 'L' or letter == 'T':
        size = 8
    else:
        raise unknown_letter(letter)
    if size > end - offset:
        raise past_end(f'value of {size} bytes', offset, end)
    at[0] = offset + size
    if size == 1:
        return data[offset]
    if size == 2:
        return get16(data + offset)
    if size == 4:
        return get32(data + offset)
    if letter == 'L':
        return get64(data + offset)
    return to_datetime(get64(data + offset))


cdef object read_argument(
    const unsigned char* data, Py_ssize_t* at, Py_ssize_t end, Py_UCS4 letter
):
    """Read an argument of any type but bit."""
    cdef Py_ssize_t offset = at[0]
    cdef Py_ssize_t size
    if letter == 's':
        return read_short(data, at, end)
    if letter == 'F':
        return read_table(data, at, end, 1)
    if letter == 'A':
        return read_array(data, at, end, 1)
    if letter == 'S' or letter == 'x':
        size = long_size(data, offset, end)
        at[0] = offset + 4 + size
        if letter == 'S':
            return read_text(data + offset + 4, size)
        return PyBytes_FromStringAndSize(<const char*>data + offset + 4, size)
    return read_unsigned(data, at, end, letter)


cdef inline bytes checked(object buf, Py_ssize_t offset):
    """Return *buf* as bytes that *offset* is in."""
    if type(buf) is bytes and 0 <= offset <= PyBytes_GET_SIZE(buf):
        return <bytes>buf
    return to_bytes(buf, offset)


def loads(str format not None, buf, Py_ssize_t offset):
    """Decode one value for each letter of *format* (see `dumps`); return them and the end's offset.

    *buf* is copied unless it is bytes, so hand in one frame's payload rather than a long buffer.
    Raises `FrameSyntaxError`.
    """
    cdef bytes whole = checked(buf, offset)
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(whole)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(whole)
    cdef list values = []
    cdef unsigned int bits = 0
    cdef int bits_left = 0
    cdef Py_UCS4 letter
    for letter in format:
        if letter == 'b':
            if not bits_left:
                if offset >= end:
                    raise past_end('bit', offset, end)
                bits = data[offset]
                bits_left = 8
                offset += 1
            values.append((bits & 1) == 1)
            bits >>= 1
            bits_left -= 1
        else:
            bits_left = 0
            values.append(read_argument(data, &offset, end, letter))
    return values, offset


cpdef object read_longlong(bytes octets, Py_ssize_t offset):
    """Decode the unsigned 64 bits at *offset*. Raises `FrameSyntaxError`."""
    if not 0 <= offset <= len(octets) - 8:
        raise past_end('value of 8 bytes', offset, len(octets))
    return get64(<const unsigned char*>PyBytes_AS_STRING(octets) + offset)


cdef dict read_properties(const unsigned char* data, Py_ssize_t* at, Py_ssize_t end):
    cdef unsigned int flags
    cdef Py_ssize_t index, offset
    cdef const unsigned char* letters = <const unsigned char*>PyBytes_AS_STRING(_letters)
    cdef dict properties = {}
    if end - at[0] < 2:
        raise past_end('value of 2 bytes', at[0], end)
    flags = get16(data + at[0])
    at[0] += 2
    if flags & 3:
        raise unknown_flags(flags)
    for index in range(PROPERTIES):
        if not flags & 0x8000u >> index:
            continue
        offset = at[0]
        if index < 2 and offset < end and data[offset] < end - offset:
            # The type and the encoding of the body: a handful in any one application.
            at[0] = offset + 1 + data[offset]
            value = read_key(data + offset + 1, data[offset])
        else:
            value = read_argument(data, at, end, letters[index])
        PyDict_SetItem(properties, _names[index], value)
    return properties


def decode_properties_basic(buf, Py_ssize_t offset):
    """Decode properties of class basic, flags first; return them and where they end.

    Raises `FrameSyntaxError`, also for flags that no property of class basic has.
    """
    cdef bytes whole = checked(buf, offset)
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(whole)
    properties = read_properties(data, &offset, PyBytes_GET_SIZE(whole))
    return properties, offset


# -- checking ------------------------------------------------------------------------------------


cdef Py_ssize_t skip_table(const unsigned char* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Return where the table whose length stands at *at* ends, or -1 if reading it would fail."""
    cdef Py_ssize_t ends[DEEPEST]
    cdef bint keyed[DEEPEST]
    cdef int depth = 0
    cdef long long size
    cdef unsigned char tag = TABLE
    ends[0] = end
    while True:
        if tag == TABLE or tag == ARRAY or tag == b'S' or tag == b'x':
            if end - at < 4:
                return -1
            size = get32(data + at)
            if size > end - at - 4:
                return -1
            at += 4
            if tag == b'S' or tag == b'x':
                at += <Py_ssize_t>size
            else:
                if depth == DEEPEST:
                    return -1
                end = at + <Py_ssize_t>size
                ends[depth] = end
                keyed[depth] = tag == TABLE
                depth += 1
        elif tag != b'V':
            size = _fixed_sizes[tag]
            if size == 0 or size > end - at:
                return -1
            at += <Py_ssize_t>size
        while at == end:
            depth -= 1
            if depth == 0:
                return at
            end = ends[depth - 1]
        if keyed[depth - 1]:
            if data[at] >= end - at - 1:
                return -1
            at += 1 + data[at]
        tag = data[at]
        at += 1


cdef bint properties_are_fine(const unsigned char* data, Py_ssize_t at, Py_ssize_t end) noexcept:
    cdef unsigned int flags
    cdef Py_ssize_t index
    cdef Py_ssize_t size
    cdef const unsigned char* letters = <const unsigned char*>PyBytes_AS_STRING(_letters)
    if end - at < 2:
        return False
    flags = get16(data + at)
    at += 2
    if flags & 3:
        return False
    for index in range(PROPERTIES):
        if not flags & 0x8000u >> index:
            continue
        if letters[index] == b'F':
            at = skip_table(data, at, end)
            if at < 0:
                return False
            continue
        if letters[index] == b's':
            if at == end:
                return False
            size = 1 + data[at]
        elif letters[index] == b'o':
            size = 1
        else:
            size = 8
        if size > end - at:
            return False
        at += size
    return True


cdef int check_properties(const unsigned char* data, Py_ssize_t size) except -1:
    cdef Py_ssize_t at = 0
    if not properties_are_fine(data, at, size):
        read_properties(data, &at, size)  # which raises
    return 0


def take_properties(buf, Py_ssize_t offset):
    """Raise `FrameSyntaxError` where `decode_properties_basic` does, at no more cost than need be.

    Returns the properties if they had to be decoded for it; None means "decode them when somebody
    asks": that can no longer fail then.
    """
    cdef bytes whole = checked(buf, offset)
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(whole)
    if not properties_are_fine(data, offset, PyBytes_GET_SIZE(whole)):
        return read_properties(data, &offset, PyBytes_GET_SIZE(whole))  # which raises
    return None
