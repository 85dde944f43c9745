"""A message that is settled by how a block of code ends: what `Message.process` returns."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType

from .basic_message import Message
from .exceptions import AMQPError, RecoverableChannelError
from .spec import Basic
from .unsettled import Unsettled

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('Processing',)


class Processing:
    """Acknowledges *message* at the end of the block, or rejects it if that raises.

    :param unsettled: what its channel knows of; None if the message needs no
        acknowledgement.
    """

    __slots__ = ('_channel', '_incarnation', '_message', '_requeue', '_tag', '_unsettled')

    def __init__(
        self, channel: Any, message: Message, requeue: bool, unsettled: Unsettled | None
    ) -> None:
        self._channel = channel
        self._message = message
        self._requeue = requeue
        self._unsettled = unsettled
        self._tag: Any = message.delivery_tag
        self._incarnation = channel.incarnation

    def __enter__(self) -> Message:
        return self._message

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._unsettled is None:
            return
        if exc is None:
            self._acknowledge(self._unsettled)
        elif self._is_known() and self._unsettled.take(self._tag):
            # An exception that is none of the program's, such as
            # KeyboardInterrupt, says nothing of the message.
            requeue = self._requeue or not isinstance(exc, Exception)
            # If the channel is lost meanwhile, the message is back; what led there goes on.
            with suppress(AMQPError, OSError):
                self._channel.basic_reject(self._tag, requeue)

    def _is_known(self) -> bool:
        """Whether the broker still knows the message by its tag."""
        return bool(self._channel.incarnation == self._incarnation)

    def _acknowledge(self, unsettled: Unsettled) -> None:
        if self._is_known():
            if unsettled.take(self._tag):
                self._channel.basic_ack(self._tag)
            return
        self._channel._usable_connection()
        raise RecoverableChannelError(
            'the broker closed this channel and has requeued its unacknowledged messages',
            Basic.Ack,
        )
