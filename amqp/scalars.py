"""Single values of AMQP: what both builds of `amqp.tables` share.

Those that are rare on the wire (dates, decimals, instances of subclasses), and every refusal, with
its text. What is frequent, each build of `amqp.tables` does in its own way.
"""

from __future__ import annotations

from math import isfinite
from struct import Struct
from struct import error as struct_error

from .exceptions import EncodeError, FrameSyntaxError

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from decimal import Decimal
    from typing import Any

    Buffer = bytes | bytearray | memoryview
    Encoder = Callable[[Any], bytes]

# Containers inside containers, the outermost counted. Nothing known nests deeper than ten; the
# cap is not for this codec, which never runs out of stack, but for repr, pickle and deepcopy of
# what it returns: at 128 they still work within CPython's default recursion limit.
MAX_DEPTH = 128

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

_LAST_SECOND = 253402300799  # 9999-12-31T23:59:59, where datetime ends

_OCTETS = tuple(bytes((number,)) for number in range(256))

_pack_octet = Struct('>B').pack
_pack_short = Struct('>H').pack
_pack_long = Struct('>I').pack
_pack_longlong = Struct('>Q').pack
_pack_tagged_size = Struct('>cI').pack
_pack_tagged_int = Struct('>ci').pack
_pack_tagged_longlong = Struct('>cq').pack
_pack_tagged_time = Struct('>cQ').pack
_pack_tagged_double = Struct('>cd').pack
_pack_tagged_decimal = Struct('>cBi').pack

# -- arguments and properties --------------------------------------------------------------------


def raw_string(value: Any, what: str) -> bytes:
    """Return the bytes of a string; None is empty. *what* is its name in the error."""
    if isinstance(value, str):
        return str.encode(value, 'utf-8', 'surrogatepass')
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if value is None:
        return b''
    raise EncodeError(f'{what} must be str or bytes, not {type(value).__name__}')


def encode_short(value: Any) -> bytes:
    """Return a short string: a length octet and up to 255 bytes. None is empty."""
    raw = raw_string(value, 'a short string')
    if len(raw) > 255:
        raise EncodeError(f'a short string has at most 255 bytes, not {len(raw)}')
    return _OCTETS[len(raw)] + raw


def encode_long_string(value: Any) -> bytes:
    """Return a long string: four octets of length, and the bytes. None is empty."""
    raw = raw_string(value, 'a long string')
    return _pack_long(len(raw)) + raw


def encode_key(key: Any) -> bytes:
    """Return a table's key: a short string, and never None."""
    if not isinstance(key, (str, bytes)):
        raise EncodeError(f"a table's keys must be str, not {type(key).__name__}")
    return encode_short(key)


def seconds(value: datetime) -> int:
    """Return whole seconds since 1970; a naive datetime is UTC."""
    from calendar import timegm  # a large module, for a rare type

    try:
        count = timegm(value.utctimetuple())
    except OverflowError:  # year 1 in a time zone east of Greenwich is before year 1 in UTC
        count = -1
    if count < 0:
        raise EncodeError('a timestamp cannot be before 1970')
    return count


def is_datetime(value: Any) -> bool:
    """Whether a value is a datetime; the module, slow to import, isn't for a number."""
    if isinstance(value, int):
        return False
    from datetime import datetime

    return isinstance(value, datetime)


def encode_timestamp(value: Any) -> bytes:
    """Return a timestamp: from a datetime, or from seconds as decoding gives beyond 9999."""
    return _pack_longlong(seconds(value) if is_datetime(value) else value)


# By the letters of formats. What they raise as struct.error, `misfit` explains.
ARGUMENT_ENCODERS: dict[str, Encoder] = {
    'B': _pack_short,
    'L': _pack_longlong,
    'l': _pack_long,
    'o': _pack_octet,
    's': encode_short,
    'S': encode_long_string,
    'x': encode_long_string,
    'T': encode_timestamp,
}

_INT_NAMES = {
    'o': 'an octet (0 to 255)',
    'B': 'a short (0 to 65535)',
    'l': 'a long (0 to 2**32 - 1)',
    'L': 'a longlong (0 to 2**64 - 1)',
    'T': 'a timestamp (a datetime, or seconds from 0 to 2**64 - 1)',
}


def encode_argument(letter: str, value: Any) -> bytes:
    """Encode one argument of any type but bit, table and array."""
    try:
        encoder = ARGUMENT_ENCODERS[letter]
    except KeyError:
        raise EncodeError(f'{letter!r} is not a format letter') from None
    return encoder(value)


def misfit(letter: str, value: Any) -> EncodeError:
    """Return the error for a value that struct refused."""
    name = _INT_NAMES.get(letter, 'a length of 32 bits')
    if isinstance(value, int):
        return EncodeError(f'integer out of range for {name}')
    return EncodeError(f'{type(value).__name__} does not fit {name}')


# -- values of tables ----------------------------------------------------------------------------


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
    return _pack_tagged_time(b'T', seconds(value))


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


# By exact type; subclasses are found by `encode_item`, in this order.
ITEM_ENCODERS: dict[type, Encoder] = {
    str: _item_str,
    bool: _item_bool,
    int: _item_int,
    float: _item_float,
    bytes: _item_bytes,
    bytearray: _item_bytes,
}


def encode_item(value: Any) -> bytes:
    """Encode a table's value, its tag first; of subclasses too (an IntEnum, a str of one's own)."""
    encoder = ITEM_ENCODERS.get(type(value))
    if encoder is not None:
        return encoder(value)
    for kind, encoder in ITEM_ENCODERS.items():
        if isinstance(value, kind):
            return encoder(value)
    # Both modules are slow to import, and such values are rare.
    if is_datetime(value):
        return _item_datetime(value)
    from decimal import Decimal

    if isinstance(value, Decimal):
        return _item_decimal(value)
    raise EncodeError(f'{type(value).__name__} is not a type of AMQP tables')


# -- containers: what they have in common --------------------------------------------------------


def is_table(value: Any) -> bool:
    """Whether a value is encoded as a table."""
    return isinstance(value, dict)


def is_array(value: Any) -> bool:
    """Whether a value is encoded as an array."""
    return isinstance(value, (list, tuple))


def check_table(value: Any) -> None:
    """Raise `EncodeError` for what is no table."""
    if not isinstance(value, dict):
        raise EncodeError(f'a table must be a dict, not {type(value).__name__}')


def check_array(value: Any) -> None:
    """Raise `EncodeError` for what is no array."""
    if not isinstance(value, (list, tuple)):
        raise EncodeError(f'an array must be a list or a tuple, not {type(value).__name__}')


def entries(container: Any) -> Iterator[tuple[Any, Any]]:
    """Iterate over (key or index, value)."""
    return iter(container.items() if isinstance(container, dict) else enumerate(container))


def too_deep() -> EncodeError:
    """Return the error for containers within containers without end."""
    return EncodeError(f'nested deeper than {MAX_DEPTH}, or inside itself')


def at_key(path: list[tuple[bool, Any]], error: EncodeError) -> EncodeError:
    """Return *error* with the place of the value at fault, as in 'a.b[2]'.

    *path* has, from the outermost container on, whether it is a table, and the key or the index.
    """
    place = ''
    for keyed, name in path:
        if not keyed:
            place += f'[{name}]'
        else:
            if isinstance(name, bytes):
                name = name.decode('utf-8', 'replace')
            # The type's own: a subclass may print as anything (an enum member, say).
            text = str.__str__(name) if isinstance(name, str) else f'<{type(name).__name__}>'
            place += ('.' if place else '') + (text if len(text) <= 64 else text[:61] + '...')
    return EncodeError(f'key {place!r}: {error.reply_text}')


# -- decoding ------------------------------------------------------------------------------------


def past_end(what: str, offset: int, end: int) -> FrameSyntaxError:
    """Return the error for what goes on where its frame or its container has ended."""
    return FrameSyntaxError(f'{what} at offset {offset} runs past the end at {end}')


def to_bytes(buf: Buffer, offset: int) -> bytes:
    """Return *buf* as bytes, which are copied if it is anything else; check *offset*."""
    data = buf if type(buf) is bytes else bytes(buf)
    if not 0 <= offset <= len(data):
        raise FrameSyntaxError(f'offset {offset} is outside of {len(data)} bytes')
    return data


def to_decimal(places: int, mantissa: int) -> Decimal:
    """Return a decimal."""
    from decimal import Decimal

    # From text: arithmetic would round by the caller's decimal context.
    return Decimal(f'{mantissa}E-{places}')


def to_datetime(count: int) -> datetime | int:
    """Return a naive datetime in UTC, or the seconds if they lie beyond year 9999."""
    from datetime import datetime, timedelta

    return count if count > _LAST_SECOND else datetime(1970, 1, 1) + timedelta(0, count)


def unknown_tag(tag: int, offset: int) -> FrameSyntaxError:
    """Return the error for a value of unknown type: nobody knows where it ends."""
    return FrameSyntaxError(f'unknown type {chr(tag)!r} in a table, before offset {offset}')


def unknown_letter(letter: str) -> FrameSyntaxError:
    """Return the error for a letter that no format has."""
    return FrameSyntaxError(f'{letter!r} is not a format letter')


def unknown_flags(flags: int) -> FrameSyntaxError:
    """Return the error for flags that no property of class basic has.

    Bit 1 is no property and bit 0 announces more flags: what follows has no known type.
    """
    return FrameSyntaxError(f'unknown property flags {flags:#06x}')


def decoded_too_deep() -> FrameSyntaxError:
    """Return the error for a peer's containers within containers without end."""
    return FrameSyntaxError(f'table nested deeper than {MAX_DEPTH}')
