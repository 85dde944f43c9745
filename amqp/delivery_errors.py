"""The errors that tell what became of published messages."""

from __future__ import annotations

from collections.abc import Sequence

from . import spec
from .basic_message import Message
from .confirms import Confirmation
from .exceptions import (
    AMQPError,
    ChannelError,
    ConfirmsFailed,
    MessageNacked,
    NoRoute,
    error_for_code,
    without_traceback,
)
from .protocol import basic_return_t

__all__ = ('confirms_failed', 'delivery_error', 'returned_error', 'settle_promise')

#: Failures that an error's text names.
NAMED_LIMIT = 10


def delivery_error(
    confirmation: Confirmation, message: Message | None = None
) -> BaseException | None:
    """What to raise for what became of a message; None if all is well.

    :param message: the one that was published, if the confirmation doesn't know it.
    """
    if message is None:
        message = confirmation.message
    if confirmation.error is not None:
        return without_traceback(confirmation.error)  # others who wait have the same
    if confirmation.returned is not None:
        error = returned_error(confirmation.returned, message)
        if isinstance(error, NoRoute):
            error.delivery_tag = confirmation.delivery_tag
        return error
    if confirmation.acknowledged:
        return None
    return MessageNacked(
        'the broker refused the message',
        spec.Basic.Nack,
        message=message,
        delivery_tag=confirmation.delivery_tag,
    )


def settle_promise(confirmation: Confirmation) -> None:
    """Tell the promise what became of its message."""
    error = delivery_error(confirmation)
    if error is None:
        confirmation.promise.fulfil(confirmation.message)
    else:
        confirmation.promise.fail(error)


def returned_error(returned: basic_return_t, message: Message | None = None) -> AMQPError:
    """The error that a returned message stands for.

    :param message: the one that was published, if it is known; by default the
        returned copy of it.
    """
    error = error_for_code(
        returned.reply_code, returned.reply_text, spec.Basic.Return, ChannelError
    )
    if isinstance(error, NoRoute):
        error.message = returned.message if message is None else message
        error.exchange = returned.exchange
        error.routing_key = returned.routing_key
    return error


def confirms_failed(failed: Sequence[Confirmation], unlisted: int = 0) -> ConfirmsFailed:
    """The error that tells of these.

    :param unlisted: how many more have failed.
    """
    failed = sorted(failed, key=lambda each: each.delivery_tag)
    failures = [delivery_error(each) for each in failed]
    named = [
        f'{each.delivery_tag} ({type(failure).__name__})'
        for each, failure in zip(failed[:NAMED_LIMIT], failures, strict=False)
    ]
    count = len(failed) + unlisted
    if count > NAMED_LIMIT:
        named.append('...')
    return ConfirmsFailed(
        f'{count} messages were not taken, by delivery tag: {", ".join(named)}',
        failures=[failure for failure in failures if failure is not None],
    )
