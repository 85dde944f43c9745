"""The messages that the benchmarks publish and consume. Nothing but the standard library."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

#: Messages that differ in their ids: a client gains nothing from remembering the last one.
VARIANTS = 256

Properties = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """A kind of message: its body, and whether it carries what Celery puts on a task."""

    name: str
    size: int
    celery: bool = False

    @cached_property
    def body(self) -> bytes:
        return task_body(self.size) if self.celery else b'x' * self.size

    @cached_property
    def variants(self) -> list[Properties]:
        """The properties of several messages, by the names of AMQP's properties."""
        if not self.celery:
            return [{}]
        return [celery_properties(number) for number in range(VARIANTS)]


def task_body(size: int) -> bytes:
    """What Celery sends for a task: args, kwargs and what comes after it, as JSON of this size."""
    embed = {'callbacks': None, 'errbacks': None, 'chain': None, 'chord': None}
    empty = json.dumps([[1, 2], {'text': ''}, embed])
    return json.dumps([[1, 2], {'text': 'x' * (size - len(empty))}, embed]).encode()


def celery_headers(number: int) -> dict[str, Any]:
    """The header table of a task; all of them have the same length on the wire."""
    task_id = str(UUID(int=number + (4 << 76) + (8 << 60)))
    return {
        'lang': 'py',
        'task': 'project.tasks.add',
        'id': task_id,
        'shadow': None,
        'eta': None,
        'expires': None,
        'group': None,
        'retries': 0,
        'timelimit': [None, None],
        'root_id': task_id,
        'parent_id': None,
        'argsrepr': '(1, 2)',
        'kwargsrepr': '{}',
        'origin': 'gen4242@worker',
    }


def celery_properties(number: int) -> Properties:
    headers = celery_headers(number)
    return {
        'content_type': 'application/json',
        'content_encoding': 'utf-8',
        'application_headers': headers,
        'delivery_mode': 2,
        'priority': 0,
        'correlation_id': headers['id'],
        'reply_to': '6e0f9a1c-0c1c-3e0c-8d5c-3f2f6b1b7a10',
    }


KIB, MIB = 1 << 10, 1 << 20
SAMPLES = {
    sample.name: sample
    for sample in (
        Sample('16 B', 16),
        Sample('1 KiB', KIB),
        Sample('Celery', KIB, celery=True),
        Sample('100 KiB', 100 * KIB),
        Sample('64 MiB', 64 * MIB),
    )
}
