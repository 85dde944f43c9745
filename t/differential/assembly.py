"""Cases for methods and messages: all frames of one in a buffer, nearly so, and anything else."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from t.differential.run import Target
from t.differential.tables import mutated, wire_argument, wire_key

#: What is compared of a message, beside its properties as they are decoded at last.
ATTRIBUTES = (
    'frame_method',
    'frame_args',
    'body',
    'body_size',
    'body_received',
    'header_received',
    'ready',
    'channel',
    'delivery_tag',
    'delivery_info',
)

#: The arguments of some methods without content, by their ids.
FORMATS = {60 << 16 | 80: 'Lb', 50 << 16 | 11: 'sll', 60 << 16 | 72: 's'}


class Assembly(Target):
    module = 'assembly'

    def cases(self, rng: random.Random) -> Iterator[tuple[Any, ...]]:
        while True:
            before = rng.randbytes(rng.choice((0, 0, 0, 1, 20)))
            frame_max = rng.choice((4096, 4096, 4096, 40, 60))
            limit = rng.choice((2**62, 2**62, 2**62, 4, 0))
            yield before, self._stream(rng), frame_max, limit

    def _stream(self, rng: random.Random) -> bytes:
        if rng.random() < 0.02:
            return rng.randbytes(rng.randrange(200))
        stream = mutated(rng, delivery(rng) if rng.random() < 0.8 else method(rng))
        if rng.random() < 0.3:
            stream = mutated(rng, stream)
        if rng.random() < 0.5:
            more = delivery(rng) if rng.random() < 0.7 else method(rng)
            stream += more[: rng.choice((1, 7, 8, 30, 1000))]
        return stream

    def run(self, module: ModuleType, case: tuple[Any, ...]) -> Any:
        before, stream, frame_max, limit = case
        reading = import_module(f'{module.__name__.partition(".")[0]}.read_buffer')
        buffer = reading.ReadBuffer(frame_max)
        buffer.data[: len(before) + len(stream)] = before + stream
        buffer.start, buffer.end = len(before), len(before) + len(stream)
        taken: list[Any] = []
        while True:
            message = module.take_message(buffer, limit)
            if message is not None:
                found = [getattr(message, name) for name in ATTRIBUTES]
                where = buffer.channel_id, buffer.consumer_tag, buffer.start, buffer.end
                counts = buffer.frames_read, buffer.messages_read
                taken.append((found, message.properties, where, counts))
                continue
            ids = module.next_method(buffer)
            args = module.take_arguments(buffer, FORMATS.get(ids, '')) if ids else None
            taken.append((ids, buffer.channel_id, args, buffer.start, buffer.end))
            if args is None:
                return taken, buffer.frames_read


def method(rng: random.Random) -> bytes:
    """A method without content."""
    ids, letters = rng.choice(list(FORMATS.items()))
    args = b''.join(wire_argument(rng, letter) for letter in letters)
    payload = struct.pack('>I', ids) + args
    return struct.pack('>BHI', 1, rng.choice((1, 1, 0, 9)), len(payload)) + payload + b'\xce'


def delivery(rng: random.Random) -> bytes:
    """A delivery or a get-ok in due form, or with one thing that isn't."""
    body = rng.randbytes(rng.choice((0, 1, 4, 30)))
    channel = rng.choice((1, 1, 1, 2, 65535, 0))
    args = wire_key(rng) + rng.randbytes(9) + wire_key(rng) + wire_key(rng)
    header = struct.pack('>HHQ', 60, 0, len(body)) + properties(rng)
    if rng.random() < 0.2:
        args = rng.randbytes(9) + wire_key(rng) + wire_key(rng) + rng.randbytes(4)
        frames = [(1, b'\x00\x3c\x00\x47' + args), (2, header)]
    else:
        frames = [(1, b'\x00\x3c\x00\x3c' + args), (2, header)]
    if body:
        frames.append((3, body))
    kind = rng.randrange(40)
    if kind == 0:
        frames.insert(rng.randrange(len(frames) + 1), (8, b''))
    elif kind == 1:
        frames[0] = (1, b'\x00\x3c\x00\x50' + args)
    elif kind == 2:
        rng.shuffle(frames)
    elif kind == 3:
        frames[-1:] = [(3, body[:1]), (3, body[1:])]
    other = channel if rng.random() < 0.98 else 3
    return b''.join(
        struct.pack('>BHI', kind, other if number == 1 else channel, len(payload))
        + payload
        + b'\xce'
        for number, (kind, payload) in enumerate(frames)
    )


def properties(rng: random.Random) -> bytes:
    """Flags, and mostly what they say."""
    flags = 0
    parts = []
    for index, letter in enumerate('ssFoossssLssss'):
        if rng.random() < 0.15:
            flags |= 0x8000 >> index
            parts.append(wire_argument(rng, letter))
    if rng.random() < 0.02:
        flags |= rng.randrange(4)
    return struct.pack('>H', flags) + b''.join(parts)
