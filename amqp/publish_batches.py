"""Messages that are published together, and confirmed together."""

from __future__ import annotations

from collections import deque

from . import spec
from .basic_message import Message
from .confirms import Confirmation
from .delivery_errors import confirms_failed
from .exceptions import EncodeError, without_traceback

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('HeldPublishBatch', 'PublishBatch')


class PublishBatch:
    """What is published in a block of ``with channel.batch() as batch:``; for one thread.

    ``channel`` is what it is published on.
    """

    __slots__ = ('_failed', '_is_open', '_pending', 'channel')

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self._is_open = True
        # In the order of publishing, without those that the broker has taken.
        self._pending: deque[Confirmation] = deque()
        self._failed: list[Confirmation] = []

    def publish(
        self,
        msg: Message,
        exchange: str = '',
        routing_key: str = '',
        mandatory: bool = False,
        immediate: bool = False,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
    ) -> None:
        """Publish a message; the end of the block tells what became of it.

        :param confirm_timeout: seconds for room among the messages in flight;
            see `confirm_select`.

        Raises what `basic_publish` does; RuntimeError outside of the block.
        """
        if not self._is_open:
            raise RuntimeError('the batch is over')
        self._sort_out_settled()
        confirmation = Confirmation(True, msg)
        self.channel._publish_owned(
            confirmation, exchange, routing_key, mandatory, immediate, timeout, confirm_timeout
        )
        self._pending.append(confirmation)

    def _sort_out_settled(self) -> None:
        pending = self._pending
        while pending and pending[0].settled():
            confirmation = pending.popleft()
            if confirmation.failed():
                self._failed.append(confirmation)
            if confirmation.error is not None:
                raise without_traceback(confirmation.error)

    def _confirm(self, timeout: float | None) -> None:
        """Wait for the confirms; raise what there is to raise."""
        self._is_open = False
        try:
            self.channel._wait_for_all(list(self._pending), timeout)
            self._sort_out_settled()
        except BaseException:
            self._give_up()
            raise
        if self._failed:
            raise confirms_failed(self._failed)

    def _give_up(self) -> None:
        """The block is left by an error: `wait_for_confirms` may tell of the messages."""
        self._is_open = False
        self.channel._confirm_mode.give_up([*self._failed, *self._pending])


class HeldPublishBatch:
    """Messages that are held back until there are *max_size* of them, or until `flush`.

    They are confirmed then if *channel* is in confirm mode, or its connection
    has ``confirm_publish``. For one thread.
    """

    __slots__ = ('_confirm_timeout', '_held', '_is_open', '_max_size', 'channel')

    def __init__(self, channel: Any, max_size: int) -> None:
        if type(max_size) is not int or max_size < 1:
            raise ValueError(f'max_size: {max_size!r} is no number of messages, 1 or more')
        self.channel = channel
        self._max_size = max_size
        self._is_open = True
        self._held: list[tuple[Any, ...]] = []
        self._confirm_timeout: float | None = None

    def publish(
        self,
        msg: Message,
        exchange: str = '',
        routing_key: str = '',
        mandatory: bool = False,
        immediate: bool = False,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
    ) -> None:
        """Hold a message back, or send it with all others if there are enough of them.

        For the parameters see `basic_publish`. Raises `EncodeError` at once for
        what can't be sent, else what `flush` does.
        """
        self._check_open()
        if not isinstance(msg, Message):
            raise EncodeError(f"argument 'msg': {type(msg).__name__} is not a Message")
        names = (0, exchange, routing_key, mandatory, immediate)
        self.channel._encode_arguments(spec.Basic.Publish, 'Bssbb', names)
        msg.encoded_body()
        msg._serialize_properties()
        if confirm_timeout is not None:
            self._confirm_timeout = max(confirm_timeout, self._confirm_timeout or 0)
        self._held.append((msg, *names[1:], timeout, confirm_timeout))
        if len(self._held) >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Send what is held back, and in confirm mode wait until the broker has taken it.

        Whatever is raised, nothing is held back any more. Raises
        `ConfirmsFailed` with those messages that the broker has not taken;
        beside that what `basic_publish` and ``Channel.batch`` do.
        """
        self._check_open()
        held, self._held = self._held, []
        timeout, self._confirm_timeout = self._confirm_timeout, None
        if not held:
            return
        channel = self.channel
        connection = channel._usable_connection()
        if connection.confirm_publish or channel._confirm_mode.is_on():
            with channel.batch(timeout) as batch:
                for call in held:
                    batch.publish(*call)
        else:
            with connection.batch():
                for call in held:
                    channel._basic_publish(*call)

    def discard(self) -> None:
        """Forget what is held back."""
        self._held = []

    def close(self) -> None:
        """Forget what is held back, and take no more."""
        self.discard()
        self._is_open = False

    def _check_open(self) -> None:
        if not self._is_open:
            raise RuntimeError('the batch is closed')
