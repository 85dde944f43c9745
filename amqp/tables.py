"""The field codec: arguments of methods, tables, arrays and properties to bytes and back.

Table types are those of RabbitMQ, which differ from the AMQP 0-9-1 document (see
https://www.rabbitmq.com/amqp-0-9-1-errata, section 3)::

    t bool          b B  8 bit         s u  16 bit     I i  32 bit (signed, unsigned)
    l L  signed 64  f d  IEEE 32, 64   D  decimal      T  seconds since 1970, unsigned 64
    S x  bytes      A  array           F  table        V  nothing

Whatever a peer sends, decoding ends in a value or in `FrameSyntaxError`, and never reads past the
end of what it was given. Whatever a caller hands in, encoding ends in bytes or in `EncodeError`,
before anything has been sent. Neither depends on how deep the caller's stack already is.

Strings travel as UTF-8 with lone surrogates let through. Received bytes that are not even that
stay `bytes`, short strings and table keys too: unlike an escape for single octets, this sends back
exactly what came, and a foreign header cannot cost the connection.

All functions are safe to call from any thread.

The compiled build has tables.pyx in place of this file: the same names, values and errors, which
the tests compare. Both leave rare values and all refusals to `amqp.scalars`.
"""

from __future__ import annotations

from struct import Struct
from struct import error as struct_error
from sys import intern

from .exceptions import EncodeError
from .scalars import (
    BASIC_PROPERTIES,
    ITEM_ENCODERS,
    MAX_DEPTH,
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
    is_datetime,
    is_table,
    misfit,
    past_end,
    seconds,
    to_bytes,
    to_datetime,
    to_decimal,
    too_deep,
    unknown_flags,
    unknown_letter,
    unknown_tag,
)

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .scalars import Buffer

    Write = Callable[[bytes], Any]
    Convert = Callable[[tuple[Any, ...]], Any]

# Table keys are few and come again with every message: both directions remember this many. When
# full (a peer that invents keys), further keys are merely encoded and decoded anew each time.
_MAX_REMEMBERED = 1024
_encoded_keys: dict[str, bytes] = {}
_decoded_keys: dict[bytes, str] = {}

_FLAGGED_PROPERTIES = [
    (name, letter, 0x8000 >> index) for index, (name, letter) in enumerate(BASIC_PROPERTIES)
]

_TABLE = ord('F')
_CONTAINER_TAGS = frozenset((_TABLE, ord('A')))
_STRING = ord('S')
_BYTES = ord('x')
_VOID = ord('V')

_pack_octet = Struct('>B').pack
_pack_longlong = Struct('>Q').pack
_pack_long_into = Struct('>I').pack_into
_pack_tagged_size = Struct('>cI').pack
_unpack_long = Struct('>I').unpack_from
_unpack_longlong = Struct('>Q').unpack_from

# -- encoding: containers ------------------------------------------------------------------------


def _remembered_key(key: Any) -> bytes:
    """Return a table's key as bytes, and remember it."""
    encoded = encode_key(key)
    if type(key) is str and len(_encoded_keys) < _MAX_REMEMBERED:
        _encoded_keys[key] = encoded
    return encoded


# One branch for each kind of value: calls would cost more than all the rest.
def _encode_container(container: Any, out: bytearray) -> None:  # noqa: C901
    """Append a table or an array to *out*, its length first, without a tag."""
    parents: list[Any] = []
    start = len(out)
    out += b'\x00\x00\x00\x00'
    items = entries(container)
    keyed = is_table(container)
    key: Any = None
    try:
        while True:
            for key, value in items:
                kind = type(value)
                if keyed:
                    # Only str is looked up: bytes hash alike, and python -bb forbids comparing.
                    encoded = _encoded_keys.get(key) if type(key) is str else None
                    out += _remembered_key(key) if encoded is None else encoded
                if kind is str:
                    raw = value.encode('utf-8', 'surrogatepass')
                    out += _pack_tagged_size(b'S', len(raw))
                    out += raw
                elif value is None:
                    out += b'V'
                elif kind in ITEM_ENCODERS:
                    out += ITEM_ENCODERS[kind](value)
                elif isinstance(value, (dict, list, tuple)):
                    if len(parents) + 2 > MAX_DEPTH:
                        raise too_deep()
                    parents.append((items, start, keyed, key))
                    keyed = is_table(value)
                    out += b'F\x00\x00\x00\x00' if keyed else b'A\x00\x00\x00\x00'
                    start = len(out) - 4
                    items = entries(value)
                    break
                else:
                    out += encode_item(value)
            else:
                _pack_long_into(out, start, len(out) - start - 4)
                if not parents:
                    return
                items, start, keyed, _ = parents.pop()
    except EncodeError as exc:
        path = [(parent[2], parent[3]) for parent in parents]
        raise at_key([*path, (keyed, key)], exc) from None


def _encode_table(value: Any, out: bytearray) -> None:
    """Append argument type F; None is an empty table."""
    if value is None:
        out += b'\x00\x00\x00\x00'
    else:
        check_table(value)
        _encode_container(value, out)


def _encode_array(value: Any, out: bytearray) -> None:
    """Append an array; None is an empty one."""
    if value is None:
        out += b'\x00\x00\x00\x00'
    else:
        check_array(value)
        _encode_container(value, out)


def _write_table(d: Any, write: Write, bits: Any) -> None:  # noqa: ARG001
    """Write a table with its length; *bits* is not used."""
    out = bytearray()
    _encode_table(d, out)
    write(bytes(out))


def _write_array(list_: Any, write: Write, bits: Any) -> None:  # noqa: ARG001
    """Write an array with its length; *bits* is not used."""
    out = bytearray()
    _encode_array(list_, out)
    write(bytes(out))


def _write_item(v: Any, write: Write, bits: Any) -> None:  # noqa: ARG001
    """Write one value as it stands in a table: its tag, then itself; *bits* is not used."""
    if v is None:
        write(b'V')
    elif is_table(v) or is_array(v):
        out = bytearray(b'F' if is_table(v) else b'A')
        _encode_container(v, out)
        write(bytes(out))
    else:
        write(encode_item(v))


# -- encoding: arguments and properties ----------------------------------------------------------


def dumps(format: str, values: Sequence[Any]) -> bytes:  # noqa: C901 (as _encode_container)
    """Encode *values*, one for each letter of *format*.

    Letters: b bit (by truth; neighbours share octets, the first in the lowest bit), o octet,
    B short, l long, L longlong (all unsigned), s short string, S and x long string, F table,
    A array, T timestamp. None is empty for s, S, x, F and A.

    Raises `EncodeError`, whose ``position`` is the index of the value at fault.
    """
    if len(values) != len(format):
        raise EncodeError(f'format {format!r} takes {len(format)} values, not {len(values)}')
    out = bytearray()
    bits = 0
    bit = 1
    position = 0
    letter = ' '
    try:
        for letter in format:
            value = values[position]
            if letter == 'b':
                if bit == 256:
                    out.append(bits)
                    bits = 0
                    bit = 1
                if value:
                    bits |= bit
                bit <<= 1
                position += 1
                continue
            if bit != 1:
                out.append(bits)
                bits = 0
                bit = 1
            if letter == 's':
                out += encode_short(value)
            elif letter == 'F':
                _encode_table(value, out)
            elif letter == 'A':
                _encode_array(value, out)
            else:
                out += encode_argument(letter, value)
            position += 1
    except EncodeError as exc:
        exc.position = position
        raise
    except struct_error:
        error = misfit(letter, values[position])
        error.position = position
        raise error from None
    if bit != 1:
        out.append(bits)
    return bytes(out)


def encode_properties(properties: dict[str, Any]) -> bytes:
    """Encode properties of class basic: flags, then values (AMQP 0-9-1 §4.2.6.1).

    A property that is None or missing is not sent; names that are not AMQP's are passed over.
    Raises `EncodeError`, naming the property.
    """
    out = bytearray(2)
    flags = 0
    name = letter = ''
    left = len(properties)
    try:
        for name, letter, flag in _FLAGGED_PROPERTIES:
            if not left:
                break
            value = properties.get(name)
            if value is None:
                continue
            left -= 1
            flags |= flag
            if letter == 's':
                out += encode_short(value)
            elif letter == 'F':
                _encode_table(value, out)
            elif letter == 'o':
                out += _pack_octet(value)
            elif is_datetime(value):
                out += _pack_longlong(seconds(value))
            else:
                out += _pack_longlong(value)
    except EncodeError as exc:
        raise EncodeError(f'property {name!r}: {exc.reply_text}') from None
    except struct_error:
        reason = misfit(letter, properties.get(name)).reply_text
        raise EncodeError(f'property {name!r}: {reason}') from None
    out[0] = flags >> 8
    out[1] = flags & 255
    return bytes(out)


# -- decoding ------------------------------------------------------------------------------------


def _text(raw: bytes) -> str | bytes:
    """Return text where *raw* is UTF-8, lone surrogates included, else *raw* itself."""
    try:
        return raw.decode()  # in half the time that the other one takes
    except UnicodeDecodeError:
        pass
    try:
        return raw.decode('utf-8', 'surrogatepass')
    except UnicodeDecodeError:
        return raw


def _decode_key(raw: bytes) -> str | bytes:
    """Return a table's key, and remember it."""
    key = _text(raw)
    if type(key) is str and len(_decoded_keys) < _MAX_REMEMBERED:
        # Interned: an application that asks for headers['task'] then compares no characters.
        key = _decoded_keys[raw] = intern(key)
    return key


def _decode_short(buf: bytes, offset: int, end: int) -> tuple[Any, int]:
    """Decode the short string at *offset*; return it and where it ends."""
    if offset >= end:
        raise past_end('short string', offset, end)
    stop = offset + 1 + buf[offset]
    if stop > end:
        raise past_end('short string', offset, end)
    return _text(buf[offset + 1 : stop]), stop


def _decode_long(buf: bytes, offset: int, end: int) -> tuple[bytes, int]:
    """Decode the long string at *offset* to bytes; return them and where they end."""
    if offset + 4 > end:
        raise past_end('long string', offset, end)
    size = _unpack_long(buf, offset)[0]
    if size > end - offset - 4:
        raise past_end('long string', offset, end)
    offset += 4
    stop = offset + size
    return buf[offset:stop], stop


def _to_bool(values: tuple[Any, ...]) -> bool:
    return bool(values[0])


def _to_decimal(values: tuple[Any, ...]) -> Any:
    return to_decimal(values[0], values[1])


def _to_datetime(values: tuple[Any, ...]) -> Any:
    return to_datetime(values[0])


def _fixed(letter: str, layout: str, convert: Convert | None = None) -> tuple[int, Any]:
    layout_struct = Struct(layout)
    return ord(letter), (layout_struct.size, layout_struct.unpack_from, convert)


# Tag -> size, unpack_from, and what makes a value of the result (None: its first item is it).
_FIXED_ITEMS: dict[int, Any] = dict(
    (
        _fixed('t', '>B', _to_bool),
        _fixed('b', '>b'),
        _fixed('B', '>B'),
        _fixed('s', '>h'),
        _fixed('u', '>H'),
        _fixed('I', '>i'),
        _fixed('i', '>I'),
        _fixed('l', '>q'),
        _fixed('L', '>q'),
        _fixed('f', '>f'),
        _fixed('d', '>d'),
        _fixed('D', '>Bi', _to_decimal),
        _fixed('T', '>Q', _to_datetime),
    )
)


# The same by the letters of formats, where integers are unsigned.
_FIXED_ARGUMENTS: dict[str, Any] = {
    'o': _FIXED_ITEMS[ord('B')],
    'B': _FIXED_ITEMS[ord('u')],
    'l': _FIXED_ITEMS[ord('i')],
    'L': (8, _unpack_longlong, None),
    'T': _FIXED_ITEMS[ord('T')],
}


def _decode_fixed(fixed: Any, buf: bytes, offset: int, end: int) -> tuple[Any, int]:
    """Decode a value of fixed size; return it and where it ends."""
    size, unpack, convert = fixed
    if size > end - offset:
        raise past_end(f'value of {size} bytes', offset, end)
    values = unpack(buf, offset)
    return (values[0] if convert is None else convert(values)), offset + size


def _decode_scalar(tag: int, buf: bytes, offset: int, end: int) -> tuple[Any, int]:
    """Decode what follows a tag other than F and A; return it and where it ends."""
    fixed = _FIXED_ITEMS.get(tag)
    if fixed is not None:
        return _decode_fixed(fixed, buf, offset, end)
    if tag == _VOID:
        return None, offset
    if tag == _BYTES:
        return _decode_long(buf, offset, end)
    if tag == _STRING:
        raw, stop = _decode_long(buf, offset, end)
        return _text(raw), stop
    raise unknown_tag(tag, offset)


def _contents_end(buf: bytes, offset: int, end: int) -> int:
    """Return where the table or array whose length stands at *offset* ends."""
    if offset + 4 > end:
        raise past_end('length of a table or an array', offset, end)
    size: int = _unpack_long(buf, offset)[0]
    if size > end - offset - 4:
        raise past_end(f'table or array of {size} bytes', offset, end)
    return offset + 4 + size


def _decode_container(  # noqa: C901 (as _encode_container)
    buf: bytes,
    offset: int,
    end: int,
    keyed: bool,
) -> tuple[Any, int]:
    """Decode the table (*keyed*) or array whose length stands at *offset*."""
    parents: list[Any] = []
    end = _contents_end(buf, offset, end)
    offset += 4
    root: Any = {} if keyed else []
    container = root
    key: Any = None
    while True:
        if offset == end:
            if not parents:
                return root, offset
            # The child is already in its parent, and everything after it is within its end.
            container, end, keyed = parents.pop()
            continue
        if keyed:
            stop = offset + 1 + buf[offset]
            if stop >= end:  # not even a tag can follow
                raise past_end('table entry', offset, end)
            raw = buf[offset + 1 : stop]
            key = _decoded_keys.get(raw)
            if key is None:
                key = _decode_key(raw)
            offset = stop
        tag = buf[offset]
        offset += 1
        if tag == _VOID:
            value: Any = None
        elif tag == _STRING:
            # As _decode_long and _text, without calling them.
            start = offset + 4
            if start > end or (size := _unpack_long(buf, offset)[0]) > end - start:
                raise past_end('long string', offset, end)
            offset = start + size
            raw = buf[start:offset]
            try:
                value = raw.decode()
            except UnicodeDecodeError:
                value = _text(raw)
        elif tag in _CONTAINER_TAGS:
            if len(parents) + 2 > MAX_DEPTH:
                raise decoded_too_deep()
            parents.append((container, end, keyed))
            end = _contents_end(buf, offset, end)
            offset += 4
            value = {} if tag == _TABLE else []
            if keyed:
                container[key] = value
            else:
                container.append(value)
            container = value
            keyed = tag == _TABLE
            continue
        else:
            value, offset = _decode_scalar(tag, buf, offset, end)
        if keyed:
            container[key] = value
        else:
            container.append(value)


def _read_item(buf: Buffer, offset: int) -> tuple[Any, int]:
    """Decode one value as it stands in a table, its tag first; return it and where it ends."""
    data = to_bytes(buf, offset)
    end = len(data)
    if offset == end:
        raise past_end('table value', offset, end)
    tag = data[offset]
    if tag in _CONTAINER_TAGS:
        return _decode_container(data, offset + 1, end, tag == _TABLE)
    return _decode_scalar(tag, data, offset + 1, end)


def _decode_argument(letter: str, buf: bytes, offset: int, end: int) -> tuple[Any, int]:
    """Decode an argument of any type but bit and short string; return it and where it ends."""
    fixed = _FIXED_ARGUMENTS.get(letter)
    if fixed is not None:
        return _decode_fixed(fixed, buf, offset, end)
    if letter in 'FA':
        return _decode_container(buf, offset, end, letter == 'F')
    if letter == 'x':
        return _decode_long(buf, offset, end)
    if letter == 'S':
        raw, stop = _decode_long(buf, offset, end)
        return _text(raw), stop
    raise unknown_letter(letter)


def loads(format: str, buf: Buffer, offset: int) -> tuple[list[Any], int]:
    """Decode one value for each letter of *format* (see `dumps`); return them and the end's offset.

    *buf* is copied unless it is bytes, so hand in one frame's payload rather than a long buffer.
    Raises `FrameSyntaxError`.
    """
    data = to_bytes(buf, offset)
    end = len(data)
    values: list[Any] = []
    bits = 0
    bits_left = 0
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
            continue
        bits_left = 0
        if letter == 's':
            value, offset = _decode_short(data, offset, end)
        else:
            value, offset = _decode_argument(letter, data, offset, end)
        values.append(value)
    return values, offset


def read_longlong(octets: bytes, offset: int) -> int:
    """Decode the unsigned 64 bits at *offset*. Raises `FrameSyntaxError`."""
    if not 0 <= offset <= len(octets) - 8:
        raise past_end('value of 8 bytes', offset, len(octets))
    number: int = _unpack_longlong(octets, offset)[0]
    return number


def decode_properties_basic(buf: Buffer, offset: int) -> tuple[dict[str, Any], int]:
    """Decode properties of class basic, flags first; return them and where they end.

    Raises `FrameSyntaxError`, also for flags that no property of class basic has.
    """
    data = to_bytes(buf, offset)
    end = len(data)
    flags, offset = _decode_fixed(_FIXED_ARGUMENTS['B'], data, offset, end)
    if flags & 3:
        raise unknown_flags(flags)
    properties: dict[str, Any] = {}
    for name, letter, flag in _FLAGGED_PROPERTIES:
        if not flags & flag:
            continue
        if letter == 's':
            # As _decode_short and _text, without calling them.
            if offset >= end or (stop := offset + 1 + data[offset]) > end:
                raise past_end('short string', offset, end)
            raw = data[offset + 1 : stop]
            try:
                properties[name] = raw.decode()
            except UnicodeDecodeError:
                properties[name] = _text(raw)
            offset = stop
        else:
            properties[name], offset = _decode_argument(letter, data, offset, end)
    return properties, offset


def take_properties(buf: Buffer, offset: int) -> dict[str, Any] | None:
    """Raise `FrameSyntaxError` where `decode_properties_basic` does, at no more cost than need be.

    Returns the properties if they had to be decoded for it; None means "decode them when somebody
    asks": that can no longer fail then.
    """
    return decode_properties_basic(buf, offset)[0]
