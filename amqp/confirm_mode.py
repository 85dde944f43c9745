"""The confirm mode of a channel, for the threads that share it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

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

    __slots__ = ('_awaiting', '_confirms', '_lock', '_loss', '_waiting', 'window')

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._confirms: PublisherConfirms | None = None
        #: How many messages may be in flight; 0 is no limit.
        self.window = 0
        # Waits for the confirms of all messages.
        self._waiting = 0
        # By what the fate of messages was left open, until such a wait tells.
        self._loss: BaseException | None = None
        # Threads that publish and will wait for the confirm; None before there is any.
        self._awaiting: set[int] | None = None

    def is_on(self) -> bool:
        """Whether the broker confirms what is published."""
        return self._confirms is not None

    def begin(self) -> None:
        """The broker has been asked to confirm messages from now on, or once more."""
        with self._lock:
            if self._confirms is None:
                self._confirms = PublisherConfirms()

    def end(self, error: BaseException) -> list[Confirmation]:
        """The channel was lost by *error*; the messages whose fate that leaves open."""
        with self._lock:
            confirms, self._confirms = self._confirms, None
            if confirms is None:
                return []
            if not all(confirmation.told() for confirmation in confirms.in_question()):
                self._loss = error
            return confirms.fail(error)

    def is_used(self) -> bool:
        """Whether what is published is to be numbered."""
        return self._confirms is not None or bool(self._awaiting)

    def begin_awaiting(self) -> None:
        """This thread will wait for the confirms of what it publishes from now on."""
        if self._awaiting is None:
            with self._lock:
                if self._awaiting is None:
                    self._awaiting = set()
        self._awaiting.add(threading.get_ident())

    def end_awaiting(self) -> None:
        """It won't any longer."""
        if self._awaiting is not None:
            self._awaiting.discard(threading.get_ident())

    def outstanding(self) -> int:
        """How many messages await their confirms."""
        confirms = self._confirms
        return 0 if confirms is None else len(confirms)

    def _is_awaiting_here(self) -> bool:
        awaiting = self._awaiting
        return awaiting is not None and threading.get_ident() in awaiting

    def is_full(self) -> bool:
        """Whether as many messages are in flight as may be.

        It stays so only until the broker speaks; it becomes so under the
        channel's ``_send_lock``.
        """
        confirms = self._confirms
        return confirms is not None and 0 < self.window <= len(confirms)

    def has_room(self) -> bool:
        """Whether another message may be sent."""
        return not self.is_full()

    def number(
        self, payload: bytes = b'\0', content: Any = None, confirmation: Confirmation | None = None
    ) -> Confirmation | None:
        """Number the message that is about to be sent; None outside of confirm mode.

        :param payload: the encoded arguments of basic.publish.
        :param confirmation: what to number it by; by default a new one.
        """
        owned = confirmation is not None
        awaited = owned or self._is_awaiting_here()
        if confirmation is None:
            confirmation = Confirmation(awaited, content if self.window else None)
        likeness = None
        if payload[-1]:  # mandatory or immediate: it may be returned
            _, exchange, routing_key, *_ = loads('Bssbb', payload, 0)[0]
            likeness = (exchange, routing_key, bytes(content.encoded_body()))
        with self._lock:
            if self._confirms is not None:
                self._confirms.publish(confirmation, likeness)
                return confirmation
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

    # -- waiting for all of them

    def begin_waiting(self) -> list[Confirmation] | None:
        """Somebody waits for all messages.

        Those that may have to be told of, in order; None outside of confirm mode.
        """
        with self._lock:
            self._waiting += 1
            return None if self._confirms is None else self._confirms.in_question()

    def end_waiting(self) -> None:
        """They don't any longer."""
        with self._lock:
            self._waiting -= 1

    def is_waited_for(self) -> bool:
        """Whether anybody waits for all messages."""
        return self._waiting > 0

    def take_loss(self) -> BaseException | None:
        """By what the fate of messages was left open, if it was; told once."""
        with self._lock:
            loss, self._loss = self._loss, None
        return loss

    def tell(self, failures: Sequence[Confirmation]) -> int:
        """Somebody is told of these; how many more have failed than were remembered."""
        with self._lock:
            for confirmation in failures:
                confirmation.awaited = True
            return 0 if self._confirms is None else self._confirms.forget(failures)

    def give_up(self, confirmations: Iterable[Confirmation]) -> None:
        """Nobody waits for these any longer: somebody else may ask for them."""
        with self._lock:
            for confirmation in confirmations:
                confirmation.awaited = False
                refused = confirmation.failed() and confirmation.error is None
                if self._confirms is not None and refused:
                    self._confirms.remember(confirmation)
