"""The confirm mode of a channel, for the threads that share it."""

from __future__ import annotations

import threading

from .confirms import Confirmation, PublisherConfirms
from .exceptions import RecoverableChannelError
from .protocol import basic_return_t
from .serialization import loads

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('ConfirmMode',)


class ConfirmMode:
    """Numbers the messages published, and settles them as the broker answers. Thread-safe.

    The channel numbers a message and writes it under its own ``_send_lock``,
    so that numbers follow the order on the wire.
    """

    __slots__ = ('_awaiting', '_confirms', '_lock')

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._confirms: PublisherConfirms | None = None
        # Threads that publish and will wait for the confirm.
        self._awaiting: set[int] = set()

    def is_on(self) -> bool:
        """Whether the broker confirms what is published."""
        return self._confirms is not None

    def begin(self) -> None:
        """The broker has been asked to confirm messages from now on."""
        with self._lock:
            self._confirms = self._confirms or PublisherConfirms()

    def end(self, error: BaseException) -> bool:
        """The channel was lost by *error*; whether that woke anybody."""
        with self._lock:
            confirms, self._confirms = self._confirms, None
            failed = [] if confirms is None else confirms.fail(error)
        return any(confirmation.awaited for confirmation in failed)

    def is_used(self) -> bool:
        """Whether what is published is to be numbered."""
        return self._confirms is not None or bool(self._awaiting)

    def begin_awaiting(self) -> None:
        """This thread will wait for the confirms of what it publishes from now on."""
        self._awaiting.add(threading.get_ident())

    def end_awaiting(self) -> None:
        """It won't any longer."""
        self._awaiting.discard(threading.get_ident())

    def number(self, payload: bytes = b'\0', content: Any = None) -> Confirmation | None:
        """Number the message that is about to be sent; None outside of confirm mode.

        :param payload: the encoded arguments of basic.publish.
        """
        awaited = threading.get_ident() in self._awaiting
        likeness = None
        if payload[-1]:  # mandatory or immediate: it may be returned
            _, exchange, routing_key, *_ = loads('Bssbb', payload, 0)[0]
            likeness = (exchange, routing_key, bytes(content.encoded_body()))
        with self._lock:
            if self._confirms is not None:
                return self._confirms.publish(awaited, likeness)
        if awaited:
            raise RecoverableChannelError(
                'the channel was closed and opened again meanwhile, and is not in confirm mode'
            )
        return None

    def last_tag(self) -> int:
        """The last number."""
        confirms = self._confirms
        return 0 if confirms is None else confirms.last_tag

    def withdraw_behind(self, last: int) -> None:
        """Something was raised since *last* was the last number; not an octet was sent.

        It may have fallen right behind the numbering.
        """
        with self._lock:
            if self._confirms is not None:
                self._confirms.withdraw_behind(last)

    def withdraw(self, confirmation: Confirmation | None) -> None:
        """Take the last number back: not an octet of its message was sent."""
        with self._lock:
            if confirmation is not None and self._confirms is not None:
                self._confirms.withdraw(confirmation)

    def message_returned(self, returned: basic_return_t) -> bool:
        """Note a returned message; whether a confirm will tell of it too."""
        likeness = (returned.exchange, returned.routing_key, returned.message.body)
        with self._lock:
            if self._confirms is None:
                return False
            self._confirms.message_returned(returned, likeness)
            return True

    def settle(
        self, delivery_tag: int, multiple: bool, acknowledged: bool
    ) -> list[Confirmation] | None:
        """Note an ack or nack: the messages it was about; None outside of confirm mode."""
        with self._lock:
            confirms = self._confirms
            if confirms is None:
                return None
            return confirms.settle(delivery_tag, multiple, acknowledged)
