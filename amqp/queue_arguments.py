"""RabbitMQ's arguments of queues and consumers, spelled out.

Each function returns a dict for ``queue_declare(arguments=)`` or, where it says so, for
``basic_consume(arguments=)``; join them by ``|``. Times are in seconds, as everywhere in this
package. What can't be right is a ValueError that names the argument.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

    Arguments = dict[str, Any]

__all__ = (
    'consumer_priority',
    'dead_letter',
    'expires',
    'lazy',
    'max_length',
    'max_priority',
    'message_ttl',
    'quorum',
    'single_active_consumer',
    'stream',
    'stream_offset',
)


#: RabbitMQ keeps times in milliseconds, and takes none that an Erlang timer can't.
LONGEST = (2**32 - 1) / 1000
LARGEST = 2**63 - 1

OVERFLOWS = ('drop-head', 'reject-publish', 'reject-publish-dlx')
STRATEGIES = ('at-most-once', 'at-least-once')
LOCATORS = ('client-local', 'balanced')
OFFSETS = ('first', 'last', 'next')
AGE_UNITS = ((86_400, 'D'), (3_600, 'h'), (60, 'm'), (1, 's'))


def quorum(
    *,
    delivery_limit: int | None = None,
    group_size: int | None = None,
    leader_locator: str | None = None,
) -> Arguments:
    """A replicated queue. Declare it with ``durable=True, auto_delete=False``.

    :param delivery_limit: how often a message may come back before it is
        dropped or dead-lettered; -1 is no limit (RabbitMQ 4).
    :param group_size: how many replicas to begin with.
    :param leader_locator: ``client-local`` or ``balanced``.
    """
    return {
        'x-queue-type': 'quorum',
        **_if_given('x-delivery-limit', _whole, 'delivery_limit', delivery_limit, -1),
        **_if_given('x-quorum-initial-group-size', _whole, 'group_size', group_size, 1),
        **_if_given('x-queue-leader-locator', _one_of, 'leader_locator', leader_locator, LOCATORS),
    }


def stream(
    *,
    max_bytes: int | None = None,
    max_age: float | None = None,
    segment_bytes: int | None = None,
    group_size: int | None = None,
    leader_locator: str | None = None,
) -> Arguments:
    """A log that is read again and again. Declare it with ``durable=True, auto_delete=False``.

    Consumers need a prefetch limit (``basic_qos``), and say by `stream_offset`
    where to begin.

    :param max_bytes: how large it may become, in octets.
    :param max_age: how old its messages may become, in whole seconds.
    :param segment_bytes: the size of its files: what is too large or too old
        is dropped by the file.
    :param group_size: how many replicas to begin with.
    :param leader_locator: ``client-local`` or ``balanced``.
    """
    return {
        'x-queue-type': 'stream',
        **_if_given('x-max-length-bytes', _whole, 'max_bytes', max_bytes, 1),
        **_if_given('x-max-age', _age, 'max_age', max_age),
        **_if_given('x-stream-max-segment-size-bytes', _whole, 'segment_bytes', segment_bytes, 1),
        **_if_given('x-initial-cluster-size', _whole, 'group_size', group_size, 1),
        **_if_given('x-queue-leader-locator', _one_of, 'leader_locator', leader_locator, LOCATORS),
    }


def stream_offset(offset: str | int | datetime) -> Arguments:
    """Of a consumer: where in the stream to begin.

    :param offset: ``first``, ``last`` (the last chunk of messages), ``next``
        (what comes from now on, the default), the number of a message, or a
        datetime, which must have a time zone.
    """
    if isinstance(offset, datetime):
        if offset.tzinfo is None:
            raise ValueError(f'offset {offset!r} has no time zone')
    elif isinstance(offset, str):
        _one_of('offset', offset, OFFSETS)
    else:
        _whole('offset', offset, 0)
    return {'x-stream-offset': offset}


def dead_letter(
    exchange: str = '', routing_key: str | None = None, *, strategy: str | None = None
) -> Arguments:
    """Where to send messages that are rejected, expire or don't fit in.

    :param exchange: by default the nameless one: *routing_key* is a queue then.
    :param routing_key: by default the one that the message came by.
    :param strategy: ``at-most-once``, or ``at-least-once`` (quorum queues,
        together with ``max_length(overflow='reject-publish')``).
    """
    return {
        'x-dead-letter-exchange': _text('exchange', exchange),
        **_if_given('x-dead-letter-routing-key', _text, 'routing_key', routing_key),
        **_if_given('x-dead-letter-strategy', _one_of, 'strategy', strategy, STRATEGIES),
    }


def message_ttl(seconds: float) -> Arguments:
    """How long a message may stay in the queue; 0 is for those that can be delivered at once."""
    return {'x-message-ttl': _milliseconds('seconds', seconds, 0)}


def expires(seconds: float) -> Arguments:
    """Delete the queue when nobody has used it for so long."""
    return {'x-expires': _milliseconds('seconds', seconds, 1)}


def max_length(
    messages: int | None = None, *, max_bytes: int | None = None, overflow: str | None = None
) -> Arguments:
    """How many messages the queue takes, and what becomes of the others.

    :param messages: ready messages; or
    :param max_bytes: octets of their bodies; or both.
    :param overflow: ``drop-head`` (the default: the oldest goes),
        ``reject-publish`` (the new one is nacked) or ``reject-publish-dlx``
        (and dead-lettered).
    """
    if messages is None and max_bytes is None:
        raise ValueError('neither messages nor max_bytes is given')
    return {
        **_if_given('x-max-length', _whole, 'messages', messages, 0),
        **_if_given('x-max-length-bytes', _whole, 'max_bytes', max_bytes, 0),
        **_if_given('x-overflow', _one_of, 'overflow', overflow, OVERFLOWS),
    }


def max_priority(highest: int) -> Arguments:
    """Deliver messages of higher ``priority`` first, up to this one; small numbers cost less."""
    return {'x-max-priority': _whole('highest', highest, 1, 255)}


def single_active_consumer() -> Arguments:
    """One consumer at a time gets the messages; when it goes, the next in line does."""
    return {'x-single-active-consumer': True}


def lazy() -> Arguments:
    """Keep messages on disk (classic queues; without effect since RabbitMQ 3.12)."""
    return {'x-queue-mode': 'lazy'}


def consumer_priority(priority: int) -> Arguments:
    """Of a consumer: those of higher priority are served first; 0 without it."""
    return {'x-priority': _whole('priority', priority, -(2**31), 2**31 - 1)}


def _if_given(
    key: str, check: Callable[..., Any], name: str, value: Any, *limits: Any
) -> Arguments:
    return {} if value is None else {key: check(name, value, *limits)}


def _whole(name: str, value: Any, low: int, high: int = LARGEST) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f'{name} {value!r} is not a whole number within {low}..{high}')
    return int(value)


def _milliseconds(name: str, seconds: Any, low: int) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise ValueError(f'{name} {seconds!r} is not a number')
    if not low / 1000 <= seconds <= LONGEST:
        raise ValueError(f'{name} {seconds!r} is not within {low / 1000:g}..{LONGEST:g}')
    milliseconds: int = round(seconds * 1000)
    return milliseconds


def _age(name: str, seconds: float) -> str:
    """In the largest unit that it is a whole number of."""
    whole, rest = divmod(_milliseconds(name, seconds, 1000), 1000)
    if rest:
        raise ValueError(f'{name} {seconds!r} is not a whole number of seconds')
    return next(f'{whole // size}{unit}' for size, unit in AGE_UNITS if whole % size == 0)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f'{name} {value!r} is not one of {", ".join(known)}')
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f'{name} {value!r} is not a string')
    return value
