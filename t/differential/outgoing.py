"""Cases for what is sent in one run: messages and settlements, and what only looks like them."""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from amqp import spec
from t.differential.run import Target
from t.differential.tables import argument, integer, properties, text

METHODS = (spec.Basic.Ack, spec.Basic.Nack, spec.Basic.Reject)
SIZES = (0, 1, 100, 4087, 4088, 4089, 8185, 32767, 32768, 32769, 40000, 131064, 131065)
FRAME_SIZES = (0, 4096, 8192, 131072)
CHANNELS = (1, 2, 255, 256, 65535)
KINDS = ('plain', 'plain', 'subclass', 'received')
ENCODINGS = (None, 'utf-8', 'latin-1', 'ascii', 'utf-16', 'base64', 'no such', 5)


def body(rng: random.Random) -> Any:
    chance = rng.random()
    if chance < 0.5:
        return rng.randbytes(1) * rng.choice(SIZES)
    if chance < 0.6:
        return bytearray(b'b' * rng.choice(SIZES))
    if chance < 0.95:
        return text(rng)
    return rng.choice((None, 5, 1.5, [], object, range(3)))


def name(rng: random.Random) -> Any:
    return argument(rng, 's')


def tag(rng: random.Random) -> Any:
    chance = rng.random()
    if chance < 0.5:
        return rng.randrange(1 << 64)
    if chance < 0.9:
        return integer(rng)
    return rng.choice((None, True, False, 1.0, float('nan'), '1', b'1', [], 1j, object))


class Outgoing(Target):
    module = 'outgoing'
    # As everywhere the caller's: a codec of Python's raises what it likes.
    errors = frozenset()

    def cases(self, rng: random.Random) -> Iterator[tuple[Any, ...]]:
        while True:
            yield self._publish(rng) if rng.random() < 0.7 else self._settlement(rng)

    @staticmethod
    def _publish(rng: random.Random) -> tuple[Any, ...]:
        made = properties(rng)
        if rng.random() < 0.2:
            made['content_encoding'] = rng.choice(ENCODINGS)
        return (
            'encode_publish',
            rng.choice(KINDS),
            body(rng),
            made,
            rng.choice(CHANNELS),
            name(rng),
            name(rng),
            rng.randrange(4),
            rng.choice(FRAME_SIZES),
        )

    @staticmethod
    def _settlement(rng: random.Random) -> tuple[Any, ...]:
        return (
            'encode_settlement',
            rng.choice(CHANNELS),
            rng.choice(METHODS),
            tag(rng),
            rng.randrange(4),
        )

    def run(self, module: ModuleType, case: tuple[Any, ...]) -> Any:
        if case[0] == 'encode_settlement':
            return module.encode_settlement(*case[1:])
        _, kind, octets, given, channel, *rest = case
        message = make_message(module, kind, octets, dict(given))
        if message is None:
            return 'no message'
        parts = module.encode_publish(channel, message, *rest)
        # The builds may differ in where they cut, but in nothing else.
        return None if parts is None else b''.join(parts), message.properties


def make_message(module: ModuleType, kind: str, octets: Any, given: dict[str, Any]) -> Any:
    """A message of that build: a caller's, a subclass's, or one that was received."""
    package = module.__name__.partition('.')[0]
    message_class = importlib.import_module(f'{package}.basic_message').Message
    if kind == 'subclass':
        message_class = type('Mine', (message_class,), {})
    message = message_class(octets, **given)
    if kind != 'received':
        return message
    try:
        header = message._serialize_properties()
        octets = bytes(message.encoded_body())
    except ValueError:
        return None
    received = message_class(frame_method=spec.Basic.Deliver, frame_args=b'')
    received.inbound_header(b'\0\x3c\0\0' + len(octets).to_bytes(8, 'big') + header)
    if octets:
        received.inbound_body(octets)
    return received
