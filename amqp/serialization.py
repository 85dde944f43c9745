"""The field codec: arguments of methods, tables, arrays and properties to bytes and back.

Table types are those of RabbitMQ, which differ from the AMQP 0-9-1 document (see
https://www.rabbitmq.com/amqp-0-9-1-errata, section 3)::

    t bool          b B  8 bit         s u  16 bit     I i  32 bit (signed, unsigned)
    l L  signed 64  f d  IEEE 32, 64   D  decimal      T  seconds since 1970, unsigned 64
    S x  bytes      A  array           F  table        V  nothing

Whatever a peer sends, decoding ends in a value or in `FrameSyntaxError`, and never reads past the
end of what it was given. Whatever a caller hands in, encoding ends in bytes or in `EncodeError`,
before anything has been sent. Both walk nested containers with a stack of their own, so that
neither depends on how deep the caller's stack already is.

Strings travel as UTF-8 with lone surrogates let through. Received bytes that are not even that
stay `bytes`, short strings and table keys too: unlike an escape for single octets, this sends back
exactly what came, and a foreign header cannot cost the connection.

All functions are safe to call from any thread.
"""

from __future__ import annotations

from calendar import timegm
from datetime import datetime, timedelta
from decimal import Decimal
from math import isfinite
from struct import Struct
from struct import error as struct_error
from typing import TYPE_CHECKING, Any, ClassVar

from .exceptions import EncodeError, FrameSyntaxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    _Bytes = bytes | bytearray | memoryview
    _Encoder = Callable[[Any], bytes]
    _Write = Callable[[bytes], Any]
    _Convert = Callable[[tuple[Any, ...]], Any]

# Containers inside containers, the outermost counted. Nothing known nests deeper than ten; the
# cap is not for this codec, which has no recursion, but for repr, pickle and deepcopy of what it
# returns: at 128 they still work within CPython's default recursion limit.
MAX_DEPTH = 128

# Table keys are few and come again with every message: both directions remember this many. When
# full (a peer that invents keys), further keys are merely encoded and decoded anew each time.
_MAX_REMEMBERED = 1024
_encoded_keys: dict[str, bytes] = {}
_decoded_keys: dict[bytes, str] = {}

_EPOCH = datetime(1970, 1, 1)
_LAST_SECOND = 253402300799  # 9999-12-31T23:59:59, where datetime ends

_OCTETS = tuple(bytes((number,)) for number in range(256))
_TABLE = ord('F')
_CONTAINER_TAGS = frozenset((_TABLE, ord('A')))
_STRING = ord('S')
_BYTES = ord('x')
_VOID = ord('V')

_pack_octet = Struct('>B').pack
_pack_short = Struct('>H').pack
_pack_long = Struct('>I').pack
_pack_longlong = Struct('>Q').pack
_pack_long_into = Struct('>I').pack_into
_pack_tagged_size = Struct('>cI').pack
_pack_tagged_int = Struct('>ci').pack
_pack_tagged_longlong = Struct('>cq').pack
_pack_tagged_time = Struct('>cQ').pack
_pack_tagged_double = Struct('>cd').pack
_pack_tagged_decimal = Struct('>cBi').pack
_content_header = Struct('>HHQ')
_unpack_long = Struct('>I').unpack_from
_unpack_longlong = Struct('>Q').unpack_from

# -- encoding: single values ---------------------------------------------------------------------


def _encode_short(value: Any) -> bytes:
    """Return a short string: a length octet and up to 255 bytes. None is empty."""
    if isinstance(value, str):
        raw = str.encode(value, 'utf-8', 'surrogatepass')
    elif isinstance(value, (bytes, bytearray)):
        raw = bytes(value)
    elif value is None:
        raw = b''
    else:
        raise EncodeError(f'a short string must be str or bytes, not {type(value).__name__}')
    if len(raw) > 255:
        raise EncodeError(f'a short string has at most 255 bytes, not {len(raw)}')
    return _OCTETS[len(raw)] + raw


def _encode_long_string(value: Any) -> bytes:
    """Return a long string: four octets of length, and the bytes. None is empty."""
    if isinstance(value, str):
        raw = str.encode(value, 'utf-8', 'surrogatepass')
    elif isinstance(value, (bytes, bytearray)):
        raw = bytes(value)
    elif value is None:
        raw = b''
    else:
        raise EncodeError(f'a long string must be str or bytes, not {type(value).__name__}')
    return _pack_long(len(raw)) + raw


def _encode_key(key: Any) -> bytes:
    """Return a table key, and remember it."""
    if not isinstance(key, (str, bytes)):
        raise EncodeError(f"a table's keys must be str, not {type(key).__name__}")
    encoded = _encode_short(key)
    if type(key) is str and len(_encoded_keys) < _MAX_REMEMBERED:
        _encoded_keys[key] = encoded
    return encoded


def _seconds(value: datetime) -> int:
    """Return whole seconds since 1970; a naive datetime is UTC."""
    try:
        seconds = timegm(value.utctimetuple())
    except OverflowError:  # year 1 in a time zone east of Greenwich is before year 1 in UTC
        seconds = -1
    if seconds < 0:
        raise EncodeError('a timestamp cannot be before 1970')
    return seconds


def _encode_timestamp(value: Any) -> bytes:
    """Return argument type T: from a datetime, or from seconds as decoding gives beyond 9999."""
    if isinstance(value, datetime):
        return _pack_longlong(_seconds(value))
    return _pack_longlong(value)


def _item_str(value: str) -> bytes:
    raw = str.encode(value, 'utf-8', 'surrogatepass')
    return _pack_tagged_size(b'S', len(raw)) + raw


def _item_bytes(value: bytes | bytearray) -> bytes:
    # As S, which consumers in every language read, though RabbitMQ knows x.
    return _pack_tagged_size(b'S', len(value)) + bytes(value)


def _item_bool(value: bool) -> bytes:
    return b't\x01' if value else b't\x00'


def _item_int(value: int) -> bytes:
    try:
        return _pack_tagged_int(b'I', value)
    except struct_error:
        pass
    try:
        # l, not L: RabbitMQ reads both as signed, and writes l itself.
        return _pack_tagged_longlong(b'l', value)
    except struct_error:
        raise EncodeError('an integer must fit in 64 bits, signed') from None


def _item_float(value: float) -> bytes:
    if not isfinite(value):
        raise EncodeError('a float must be finite: RabbitMQ closes the connection over others')
    return _pack_tagged_double(b'd', value)


def _item_datetime(value: datetime) -> bytes:
    return _pack_tagged_time(b'T', _seconds(value))


def _item_decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise EncodeError('a decimal must be finite')
    # Sizes first: int() of a million digits, or ten to a large power, would take for ever.
    if value and (len(digits) > 10 or value.adjusted() > 9):
        raise EncodeError('the digits of a decimal must fit in 32 bits, signed')
    mantissa = int(''.join(map(str, digits))) if value else 0
    if exponent > 0:
        mantissa *= 10 ** min(exponent, 9)
        exponent = 0
    try:
        return _pack_tagged_decimal(b'D', -exponent, -mantissa if sign else mantissa)
    except struct_error:
        raise EncodeError(
            'a decimal has at most 255 places and digits that fit in 32 bits, signed'
        ) from None


# By exact type; subclasses are found by _item_encoder, in this order.
_ITEM_ENCODERS: dict[type, _Encoder] = {
    str: _item_str,
    bool: _item_bool,
    int: _item_int,
    float: _item_float,
    bytes: _item_bytes,
    bytearray: _item_bytes,
    datetime: _item_datetime,
    Decimal: _item_decimal,
}


def _item_encoder(value: Any) -> _Encoder:
    """Return the encoder for an instance of a subclass (an IntEnum, a str of one's own)."""
    for kind, encoder in _ITEM_ENCODERS.items():
        if isinstance(value, kind):
            return encoder
    raise EncodeError(f'{type(value).__name__} is not a type of AMQP tables')


# -- encoding: containers ------------------------------------------------------------------------


def _entries(container: Any) -> Iterator[tuple[Any, Any]]:
    """Iterate over (key or index, value)."""
    return iter(container.items() if isinstance(container, dict) else enumerate(container))


def _key_path(parents: list[Any], keyed: bool, key: Any) -> str:
    """Return where a value stands, as in 'a.b[2]'."""
    path = ''
    for named, name in [*((parent[2], parent[3]) for parent in parents), (keyed, key)]:
        if not named:
            path += f'[{name}]'
        else:
            if isinstance(name, bytes):
                name = name.decode('utf-8', 'replace')
            # The type's own: a subclass may print as anything (an enum member, say).
            text = str.__str__(name) if isinstance(name, str) else f'<{type(name).__name__}>'
            path += ('.' if path else '') + (text if len(text) <= 64 else text[:61] + '...')
    return path


# One branch for each kind of value: calls would cost more than all the rest.
def _encode_container(container: Any, out: bytearray) -> None:  # noqa: C901
    """Append a table or an array to *out*, its length first, without a tag."""
    parents: list[Any] = []
    start = len(out)
    out += b'\x00\x00\x00\x00'
    entries = _entries(container)
    keyed = isinstance(container, dict)
    key: Any = None
    try:
        while True:
            for key, value in entries:
                kind = type(value)
                if keyed:
                    # Only str is looked up: bytes hash alike, and python -bb forbids comparing.
                    encoded = _encoded_keys.get(key) if type(key) is str else None
                    out += _encode_key(key) if encoded is None else encoded
                if kind is str:
                    raw = value.encode('utf-8', 'surrogatepass')
                    out += _pack_tagged_size(b'S', len(raw))
                    out += raw
                elif value is None:
                    out += b'V'
                elif kind in _ITEM_ENCODERS:
                    out += _ITEM_ENCODERS[kind](value)
                elif isinstance(value, (dict, list, tuple)):
                    if len(parents) + 2 > MAX_DEPTH:
                        raise EncodeError(f'nested deeper than {MAX_DEPTH}, or inside itself')
                    parents.append((entries, start, keyed, key))
                    keyed = isinstance(value, dict)
                    out += b'F\x00\x00\x00\x00' if keyed else b'A\x00\x00\x00\x00'
                    start = len(out) - 4
                    entries = _entries(value)
                    break
                else:
                    out += _item_encoder(value)(value)
            else:
                _pack_long_into(out, start, len(out) - start - 4)
                if not parents:
                    return
                entries, start, keyed, _ = parents.pop()
    except EncodeError as exc:
        path = _key_path(parents, keyed, key)
        raise EncodeError(f'key {path!r}: {exc.reply_text}') from None


def _encode_table(value: Any, out: bytearray) -> None:
    """Append argument type F; None is an empty table."""
    if value is None:
        out += b'\x00\x00\x00\x00'
    elif isinstance(value, dict):
        _encode_container(value, out)
    else:
        raise EncodeError(f'a table must be a dict, not {type(value).__name__}')


def _encode_array(value: Any, out: bytearray) -> None:
    """Append an array; None is an empty one."""
    if value is None:
        out += b'\x00\x00\x00\x00'
    elif isinstance(value, (list, tuple)):
        _encode_container(value, out)
    else:
        raise EncodeError(f'an array must be a list or a tuple, not {type(value).__name__}')


def _write_table(d: Any, write: _Write, bits: Any) -> None:  # noqa: ARG001
    """Write a table with its length; *bits* is not used."""
    out = bytearray()
    _encode_table(d, out)
    write(bytes(out))


def _write_array(list_: Any, write: _Write, bits: Any) -> None:  # noqa: ARG001
    """Write an array with its length; *bits* is not used."""
    out = bytearray()
    _encode_array(list_, out)
    write(bytes(out))


def _write_item(v: Any, write: _Write, bits: Any) -> None:  # noqa: ARG001
    """Write one value as it stands in a table: its tag, then itself; *bits* is not used."""
    if v is None:
        write(b'V')
    elif isinstance(v, (dict, list, tuple)):
        out = bytearray(b'F' if isinstance(v, dict) else b'A')
        _encode_container(v, out)
        write(bytes(out))
    else:
        write((_ITEM_ENCODERS.get(type(v)) or _item_encoder(v))(v))


# -- encoding: arguments and properties ----------------------------------------------------------

_INT_NAMES = {
    'o': 'an octet (0 to 255)',
    'B': 'a short (0 to 65535)',
    'l': 'a long (0 to 2**32 - 1)',
    'L': 'a longlong (0 to 2**64 - 1)',
    'T': 'a timestamp (a datetime, or seconds from 0 to 2**64 - 1)',
}


def _misfit(letter: str, value: Any) -> EncodeError:
    """Return the error for a value that struct refused."""
    name = _INT_NAMES.get(letter, 'a length of 32 bits')
    if isinstance(value, int):
        return EncodeError(f'integer out of range for {name}')
    return EncodeError(f'{type(value).__name__} does not fit {name}')


def _array(value: Any) -> bytes:
    """Return argument type A; None is an empty array."""
    out = bytearray()
    _encode_array(value, out)
    return bytes(out)


# The rarer letters, and those where struct does it all.
_ARGUMENT_ENCODERS: dict[str, _Encoder] = {
    'B': _pack_short,
    'L': _pack_longlong,
    'l': _pack_long,
    'o': _pack_octet,
    'S': _encode_long_string,
    'x': _encode_long_string,
    'T': _encode_timestamp,
    'A': _array,
}


def _argument_encoder(letter: str) -> _Encoder:
    try:
        return _ARGUMENT_ENCODERS[letter]
    except KeyError:
        raise EncodeError(f'{letter!r} is not a format letter') from None


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
                out += _encode_short(value)
            elif letter == 'F':
                _encode_table(value, out)
            else:
                out += _argument_encoder(letter)(value)
            position += 1
    except EncodeError as exc:
        exc.position = position
        raise
    except struct_error:
        error = _misfit(letter, values[position])
        error.position = position
        raise error from None
    if bit != 1:
        out.append(bits)
    return bytes(out)


# The properties of class basic in the order of their flags (AMQP 0-9-1 §1.8.2), from bit 15 down.
BASIC_PROPERTIES: list[tuple[str, str]] = [
    ('content_type', 's'),
    ('content_encoding', 's'),
    ('application_headers', 'F'),
    ('delivery_mode', 'o'),
    ('priority', 'o'),
    ('correlation_id', 's'),
    ('reply_to', 's'),
    ('expiration', 's'),
    ('message_id', 's'),
    ('timestamp', 'L'),
    ('type', 's'),
    ('user_id', 's'),
    ('app_id', 's'),
    ('cluster_id', 's'),
]
_FLAGGED_PROPERTIES = [
    (name, letter, 0x8000 >> index) for index, (name, letter) in enumerate(BASIC_PROPERTIES)
]


def encode_properties(properties: dict[str, Any]) -> bytes:
    """Encode properties of class basic: flags, then values (AMQP 0-9-1 §4.2.6.1).

    A property that is None or missing is not sent; names that are not AMQP's are passed over.
    Raises `EncodeError`, naming the property.
    """
    out = bytearray(2)
    flags = 0
    name = letter = ''
    try:
        for name, letter, flag in _FLAGGED_PROPERTIES:
            value = properties.get(name)
            if value is None:
                continue
            flags |= flag
            if letter == 's':
                out += _encode_short(value)
            elif letter == 'F':
                _encode_table(value, out)
            elif letter == 'o':
                out += _pack_octet(value)
            elif isinstance(value, datetime):
                out += _pack_longlong(_seconds(value))
            else:
                out += _pack_longlong(value)
    except EncodeError as exc:
        raise EncodeError(f'property {name!r}: {exc.reply_text}') from None
    except struct_error:
        reason = _misfit(letter, properties.get(name)).reply_text
        raise EncodeError(f'property {name!r}: {reason}') from None
    out[0] = flags >> 8
    out[1] = flags & 255
    return bytes(out)


# -- decoding ------------------------------------------------------------------------------------


def _past_end(what: str, offset: int, end: int) -> FrameSyntaxError:
    return FrameSyntaxError(f'{what} at offset {offset} runs past the end at {end}')


def _to_bytes(buf: _Bytes, offset: int) -> bytes:
    """Return *buf* as bytes, which are copied if it is anything else; check *offset*."""
    data = buf if type(buf) is bytes else bytes(buf)
    if not 0 <= offset <= len(data):
        raise FrameSyntaxError(f'offset {offset} is outside of {len(data)} bytes')
    return data


def _text(raw: bytes) -> str | bytes:
    """Return text where *raw* is UTF-8, else *raw* itself."""
    try:
        return raw.decode('utf-8', 'surrogatepass')
    except UnicodeDecodeError:
        return raw


def _decode_key(raw: bytes) -> str | bytes:
    """Return a table key, and remember it."""
    key = _text(raw)
    if type(key) is str and len(_decoded_keys) < _MAX_REMEMBERED:
        _decoded_keys[raw] = key
    return key


def _decode_short(buf: bytes, offset: int, end: int) -> tuple[Any, int]:
    """Decode the short string at *offset*; return it and where it ends."""
    if offset >= end:
        raise _past_end('short string', offset, end)
    stop = offset + 1 + buf[offset]
    if stop > end:
        raise _past_end('short string', offset, end)
    return _text(buf[offset + 1 : stop]), stop


def _decode_long(buf: bytes, offset: int, end: int) -> tuple[bytes, int]:
    """Decode the long string at *offset* to bytes; return them and where they end."""
    if offset + 4 > end:
        raise _past_end('long string', offset, end)
    size = _unpack_long(buf, offset)[0]
    if size > end - offset - 4:
        raise _past_end('long string', offset, end)
    offset += 4
    stop = offset + size
    return buf[offset:stop], stop


def _to_bool(values: tuple[Any, ...]) -> bool:
    return bool(values[0])


def _to_decimal(values: tuple[Any, ...]) -> Decimal:
    # From text: arithmetic would round by the caller's decimal context.
    return Decimal(f'{values[1]}E-{values[0]}')


def _to_datetime(values: tuple[Any, ...]) -> datetime | int:
    """Return a naive datetime in UTC, or the seconds if they lie beyond year 9999."""
    seconds: int = values[0]
    return seconds if seconds > _LAST_SECOND else _EPOCH + timedelta(0, seconds)


def _fixed(letter: str, layout: str, convert: _Convert | None = None) -> tuple[int, Any]:
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
        raise _past_end(f'value of {size} bytes', offset, end)
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
    raise FrameSyntaxError(f'unknown type {chr(tag)!r} in a table, before offset {offset}')


def _contents_end(buf: bytes, offset: int, end: int) -> int:
    """Return where the table or array whose length stands at *offset* ends."""
    if offset + 4 > end:
        raise _past_end('length of a table or an array', offset, end)
    size: int = _unpack_long(buf, offset)[0]
    if size > end - offset - 4:
        raise _past_end(f'table or array of {size} bytes', offset, end)
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
                raise _past_end('table entry', offset, end)
            raw = buf[offset + 1 : stop]
            key = _decoded_keys.get(raw)
            if key is None:
                key = _decode_key(raw)
            offset = stop
        tag = buf[offset]
        offset += 1
        if tag == _STRING:
            raw, offset = _decode_long(buf, offset, end)
            value: Any = _text(raw)
        elif tag == _VOID:
            value = None
        elif tag in _CONTAINER_TAGS:
            if len(parents) + 2 > MAX_DEPTH:
                raise FrameSyntaxError(f'table nested deeper than {MAX_DEPTH}')
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


def _read_item(buf: _Bytes, offset: int) -> tuple[Any, int]:
    """Decode one value as it stands in a table, its tag first; return it and where it ends."""
    data = _to_bytes(buf, offset)
    end = len(data)
    if offset == end:
        raise _past_end('table value', offset, end)
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
    raise FrameSyntaxError(f'{letter!r} is not a format letter')


def loads(format: str, buf: _Bytes, offset: int) -> tuple[list[Any], int]:
    """Decode one value for each letter of *format* (see `dumps`); return them and the end's offset.

    *buf* is copied unless it is bytes, so hand in one frame's payload rather than a long buffer.
    Raises `FrameSyntaxError`.
    """
    data = _to_bytes(buf, offset)
    end = len(data)
    values: list[Any] = []
    bits = 0
    bits_left = 0
    for letter in format:
        if letter == 'b':
            if not bits_left:
                if offset >= end:
                    raise _past_end('bit', offset, end)
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


def decode_properties_basic(buf: _Bytes, offset: int) -> tuple[dict[str, Any], int]:
    """Decode properties of class basic, flags first; return them and where they end.

    Raises `FrameSyntaxError`, also for flags that no property of class basic has.
    """
    data = _to_bytes(buf, offset)
    end = len(data)
    flags, offset = _decode_fixed(_FIXED_ARGUMENTS['B'], data, offset, end)
    if flags & 3:
        # Bit 1 is no property and bit 0 announces more flags: what follows has no known type.
        raise FrameSyntaxError(f'unknown property flags {flags:#06x}')
    properties: dict[str, Any] = {}
    for name, letter, flag in _FLAGGED_PROPERTIES:
        if not flags & flag:
            continue
        if letter == 's':
            properties[name], offset = _decode_short(data, offset, end)
        else:
            properties[name], offset = _decode_argument(letter, data, offset, end)
    return properties, offset


# Class id -> decoder of its properties.
PROPERTY_CLASSES: dict[int, Callable[[_Bytes, int], tuple[dict[str, Any], int]]] = {
    60: decode_properties_basic,
}


def take_properties(buf: _Bytes, offset: int) -> tuple[dict[str, Any] | None, int]:
    """Check the properties of class basic at *offset*; return them and where they end.

    None in their place: they are sound, and `decode_properties_basic` is left for later.
    """
    return decode_properties_basic(buf, offset)
