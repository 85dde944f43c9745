"""Cases for the field codec: well-formed, nearly so, and not at all, both ways."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from types import ModuleType
from typing import Any

from amqp import spec
from t.differential.run import Target

FORMATS = sorted({each.format for each in spec.METHODS.values()} | {'A', 'T', 'x', 'S', 'bobobbb'})
TAGS = b'tbBsuIilLfdDSxAFTV'
PROPERTIES = [
    'content_type',
    'content_encoding',
    'delivery_mode',
    'priority',
    'correlation_id',
    'reply_to',
    'expiration',
    'message_id',
    'timestamp',
    'type',
    'user_id',
    'app_id',
    'cluster_id',
]


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Table(dict):  # type: ignore[type-arg]
    pass


# -- values --------------------------------------------------------------------------------------


def text(rng: random.Random) -> Any:
    size = rng.choice((0, 1, 3, 10, 40))
    kind = rng.randrange(8)
    if kind == 0:
        return rng.randbytes(size)
    if kind == 1:
        return bytearray(rng.randbytes(size))
    if kind == 2:
        return Text('ü' * size)
    alphabet = 'abc.[]' if kind < 6 else 'aé€😀\ud800\udfff\x00'
    return ''.join(rng.choices(alphabet, k=size))


def key(rng: random.Random) -> Any:
    chance = rng.random()
    if chance < 0.95:
        return rng.choice(('task', 'id', 'lang', 'retries', 'a', 'b', 'c', ''))
    if chance < 0.99:
        made = text(rng)
        return bytes(made) if isinstance(made, bytearray) else made
    return rng.choice((5, None, True, 1.5, 'x' * 256, b'\xff' * 300, (), 'é' * 128))


def integer(rng: random.Random) -> int:
    near = 1 << rng.choice((0, 7, 8, 15, 16, 31, 32, 53, 62, 63, 64, 100))
    number = rng.choice((-1, 1)) * near + rng.randint(-2, 2)
    return Number(number) if rng.random() < 0.05 else number


def real(rng: random.Random) -> float:
    if rng.random() < 0.1:
        return float(rng.choice(('nan', 'inf', '-inf', '-0.0', '5e-324')))
    value: float = struct.unpack('>d', rng.randbytes(8))[0]
    return value


def decimal(rng: random.Random) -> Decimal:
    if rng.random() < 0.1:
        return Decimal(rng.choice(('NaN', 'sNaN', 'Infinity', '-0', '1E+9', '0E+9', '1E-300')))
    return Decimal(
        (
            rng.randrange(2),
            tuple(rng.choices(range(10), k=rng.randint(1, 12))),
            rng.randint(-260, 3),
        )
    )


def time(rng: random.Random) -> datetime:
    zone = rng.choice((None, None, timezone.utc, timezone(timedelta(hours=rng.randint(-14, 14)))))
    year = rng.choice((1, 1969, 1970, 2020, 9999))
    return datetime(
        year,
        rng.choice((1, 12)),
        rng.choice((1, 31)),
        rng.randrange(24),
        59,
        59,
        rng.randrange(1000000),
        zone,
    )


SCALARS: list[Callable[[random.Random], Any]] = [
    text,
    text,
    text,
    integer,
    integer,
    real,
    decimal,
    time,
    lambda rng: None,
    lambda rng: rng.random() < 0.5,
    lambda rng: rng.choice((0, 1, -1)),
]
BAD = (object, 1j, frozenset(), timedelta(1), memoryview)


def value(rng: random.Random, depth: int) -> Any:
    chance = rng.random()
    if depth and chance < 0.1:
        return table(rng, depth - 1)
    if depth and chance < 0.2:
        items = [value(rng, depth - 1) for _ in range(rng.randrange(4))]
        return tuple(items) if rng.random() < 0.3 else items
    if chance > 0.997:
        return rng.choice(BAD)
    return rng.choice(SCALARS)(rng)


def table(rng: random.Random, depth: int) -> dict[Any, Any]:
    made = {key(rng): value(rng, depth) for _ in range(rng.randrange(6))}
    if rng.random() < 0.001:
        for _ in range(rng.randint(100, 140)):
            made = {'k': made} if rng.random() < 0.5 else {'k': [made]}
    return Table(made) if rng.random() < 0.05 else made


ARGUMENTS: dict[str, Callable[[random.Random], Any]] = {
    'b': lambda rng: rng.choice((True, False, None, 0, 'yes')),
    'o': lambda rng: rng.randint(-1, 257) if rng.random() < 0.1 else rng.randrange(256),
    'B': lambda rng: rng.randint(-1, 1 << 16) if rng.random() < 0.9 else integer(rng),
    'l': lambda rng: rng.randrange(1 << 32) if rng.random() < 0.9 else integer(rng),
    'L': lambda rng: rng.randrange(1 << 64) if rng.random() < 0.9 else integer(rng),
    's': lambda rng: rng.choice((None, 'x' * 255, 'x' * 256)) if rng.random() < 0.1 else text(rng),
    'S': lambda rng: None if rng.random() < 0.1 else text(rng),
    'x': lambda rng: None if rng.random() < 0.1 else text(rng),
    'F': lambda rng: None if rng.random() < 0.1 else table(rng, 3),
    'A': lambda rng: [value(rng, 2) for _ in range(rng.randrange(5))],
    'T': lambda rng: time(rng) if rng.random() < 0.7 else integer(rng),
}


def argument(rng: random.Random, letter: str) -> Any:
    if rng.random() < 0.003:
        return rng.choice((None, 'text', b'bytes', 1.5, -1, [], {}, object))
    return ARGUMENTS[letter](rng)


def properties(rng: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name in rng.sample(PROPERTIES, rng.randrange(6)):
        letter = {'delivery_mode': 'o', 'priority': 'o', 'timestamp': 'L'}.get(name, 's')
        made[name] = argument(rng, letter)
    if rng.random() < 0.5:
        made['application_headers'] = argument(rng, 'F')
    return Table(made) if rng.random() < 0.05 else made


# -- bytes ---------------------------------------------------------------------------------------


def wire_item(rng: random.Random, depth: int) -> bytes:
    """Return a value with its tag: of any type a broker may send, not only of those we write."""
    tag = rng.choice(TAGS)
    if tag in b'SxAF' or rng.random() < 0.005:
        if tag in b'AF' and not depth:
            contents = b''
        elif tag in b'AF':
            contents = b''.join(
                (wire_key(rng) if tag == ord('F') else b'') + wire_item(rng, depth - 1)
                for _ in range(rng.randrange(5))
            )
        else:
            contents = rng.choice((b'', b'abc', b'\xff', b'\xed\xa0\x80', rng.randbytes(5)))
        return bytes((tag,)) + struct.pack('>I', len(contents)) + contents
    size = {
        **dict.fromkeys(b'tbB', 1),
        **dict.fromkeys(b'su', 2),
        **dict.fromkeys(b'Iif', 4),
        **dict.fromkeys(b'lLdT', 8),
        ord('D'): 5,
        ord('V'): 0,
    }[tag]
    if tag == ord('T') and rng.random() < 0.8:
        return b'T' + struct.pack('>Q', rng.choice((0, 1600000000, 253402300799, 253402300800)))
    return bytes((tag,)) + rng.randbytes(size)


def wire_key(rng: random.Random) -> bytes:
    name: bytes = rng.choice((b'a', b'b', b'task', b'', b'\xc3\xa9', b'\xff', rng.randbytes(3)))
    return bytes((len(name),)) + name


def wire_argument(rng: random.Random, letter: str) -> bytes:
    if letter in 'FA':
        return container(rng, letter)
    if letter in 'Sx':
        data = rng.randbytes(rng.randrange(6))
        return struct.pack('>I', len(data)) + data
    if letter == 's':
        return wire_key(rng)
    return rng.randbytes({'b': 1, 'o': 1, 'B': 2, 'l': 4, 'L': 8, 'T': 8}[letter])


def container(rng: random.Random, letter: str) -> bytes:
    depth = 130 if rng.random() < 0.001 else 3
    if depth > 3:
        data = b'\x00\x00\x00\x00'
        for _ in range(rng.randint(120, depth)):
            data = b'A' + data
            data = struct.pack('>I', len(data)) + data
        return data if letter == 'A' else struct.pack('>I', len(data) + 3) + b'\x01kA' + data
    contents = b''.join(
        (wire_key(rng) if letter == 'F' else b'') + wire_item(rng, depth)
        for _ in range(rng.randrange(6))
    )
    return struct.pack('>I', len(contents)) + contents


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Return `data` as it is, or damaged in one of the ways that decoders trip over."""
    kind = rng.randrange(8)
    if kind < 3 or not data:
        return data
    at = rng.randrange(len(data))
    if kind == 3:
        return data[:at]
    if kind == 4:
        return data[:at] + bytes((rng.choice((0, 1, 127, 128, 255)),)) + data[at + 1 :]
    if kind == 5:
        return data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]
    if kind == 6:
        size = rng.choice((0, 1, 4, 5, 100, 2**31 - 1, 2**31, 2**32 - 1))
        return data[:at] + struct.pack('>I', size) + data[at + 4 :]
    return data[:at] + rng.randbytes(rng.randrange(5)) + data[at:]


# -- the target ----------------------------------------------------------------------------------


class Tables(Target):
    module = 'tables'
    errors = frozenset({'EncodeError', 'FrameSyntaxError'})

    def cases(self, rng: random.Random) -> Iterator[tuple[Any, ...]]:
        makers = (
            self._loads,
            self._loads,
            self._read_item,
            self._decode_properties,
            self._take_properties,
            self._dumps,
            self._dumps,
            self._encode_properties,
        )
        while True:
            yield rng.choice(makers)(rng)

    @staticmethod
    def _buffer(rng: random.Random, data: bytes) -> tuple[str, bytes, int]:
        data = mutated(rng, data) if rng.random() < 0.95 else rng.randbytes(rng.randrange(60))
        if rng.random() < 0.9:
            return 'bytes', data, 0
        kind = rng.choice(('bytes', 'bytearray', 'memoryview'))
        offset = rng.randrange(4)
        return kind, rng.randbytes(offset) + data, offset + rng.choice((0, 0, 0, 1, -9, 99))

    def _loads(self, rng: random.Random) -> tuple[Any, ...]:
        letters = rng.choice(FORMATS)
        data = b''.join(wire_argument(rng, letter) for letter in letters)
        return 'loads', letters, *self._buffer(rng, data)

    def _read_item(self, rng: random.Random) -> tuple[Any, ...]:
        return '_read_item', *self._buffer(rng, wire_item(rng, 3))

    def _decode_properties(self, rng: random.Random) -> tuple[Any, ...]:
        return 'decode_properties_basic', *self._properties(rng)

    def _take_properties(self, rng: random.Random) -> tuple[Any, ...]:
        return 'take_properties', *self._properties(rng)

    def _properties(self, rng: random.Random) -> tuple[str, bytes, int]:
        flags = 0
        parts = []
        for index, letter in enumerate('ssFoossssLssss'):
            if rng.random() < 0.4:
                flags |= 0x8000 >> index
                parts.append(wire_argument(rng, letter))
        if rng.random() < 0.02:
            flags |= rng.randrange(4)
        return self._buffer(rng, struct.pack('>H', flags) + b''.join(parts))

    def _dumps(self, rng: random.Random) -> tuple[Any, ...]:
        letters = rng.choice(FORMATS)
        values = [argument(rng, letter) for letter in letters]
        if rng.random() < 0.002:
            values.append(None)
        if rng.random() < 0.002:
            letters = letters.replace('s', 'q')
        return 'dumps', letters, values

    def _encode_properties(self, rng: random.Random) -> tuple[Any, ...]:
        return 'encode_properties', properties(rng)

    def run(self, module: ModuleType, case: tuple[Any, ...]) -> Any:
        name, *args = case
        function = getattr(module, name)
        if name in ('dumps', 'encode_properties'):
            return function(*args)
        *args, kind, data, offset = args
        buffer = {'bytes': bytes, 'bytearray': bytearray, 'memoryview': memoryview}[kind](data)
        if name == 'take_properties':
            taken = function(buffer, offset)
            # The builds may differ in how much they decode, but in nothing else.
            read = module.decode_properties_basic(buffer, offset)
            return read if taken is None else (taken, read[1])
        read, end = function(*args, buffer, offset)
        return read, end, again(module, name, args, read)


def again(module: ModuleType, name: str, args: list[Any], read: Any) -> Any:
    """Encode what has been read, as far as it can be."""
    try:
        if name == 'loads':
            return module.dumps(args[0], read)
        if name == 'decode_properties_basic':
            return module.encode_properties(read)
        parts: list[bytes] = []
        module._write_item(read, parts.append, [])
        return parts
    except ValueError as exc:
        return type(exc).__name__, str(exc)
