"""Publisher confirms: which message an acknowledgement is about.

RabbitMQ numbers the messages published on a channel from 1 after
confirm.select. An acknowledgement names one number, or with ``multiple`` all
numbers up to it, so that several messages may be returned before one that
covers them all: a returned message is known by its content.
"""

from __future__ import annotations

from collections.abc import Iterable

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any


__all__ = ('Confirmation', 'PublisherConfirms')

#: Failures that are remembered for somebody who may ask, at most.
FAILURES_LIMIT = 1_000


class Confirmation:
    """What the broker says of one published message.

    ``acknowledged`` is None until it has spoken, then True or False;
    ``returned`` is what basic.return brought, if it did; ``error`` is set
    instead where the channel is lost first. ``awaited`` says whether somebody
    tells what becomes of it, the publisher that waits above all, or has done
    so. ``message`` is what was published, where somebody may want it;
    ``promise`` is settled along with it.
    """

    __slots__ = (
        'acknowledged',
        'awaited',
        'delivery_tag',
        'error',
        'likeness',
        'message',
        'promise',
        'returned',
    )

    def __init__(self, awaited: bool = False, message: Any = None, promise: Any = None) -> None:
        self.delivery_tag = 0
        self.likeness: object = None
        self.awaited = awaited
        self.message = message
        self.promise = promise
        self.acknowledged: bool | None = None
        self.returned: Any = None
        self.error: BaseException | None = None

    def settled(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.acknowledged is not None or self.error is not None

    def failed(self) -> bool:
        """Whether it is settled, and no queue has the message as far as we know."""
        if self.acknowledged:
            return self.returned is not None
        return self.settled()

    def told(self) -> bool:
        """Whether somebody is told what becomes of it, or has been."""
        return self.awaited or (self.promise is not None and self.promise.is_heard())


class PublisherConfirms:
    """The messages of one channel that the broker hasn't spoken of yet.

    Not thread-safe: the channel guards it with a lock, and numbers a message
    and writes it under another, so that numbers follow the order on the wire.
    """

    __slots__ = ('_failures', '_outstanding', '_returned', '_unlike', 'last_tag', 'unlisted')

    def __init__(self) -> None:
        self.last_tag = 0
        #: How many more have failed than are remembered.
        self.unlisted = 0
        self._outstanding: dict[int, Confirmation] = {}
        # Those nobody has been told of.
        self._failures: dict[int, Confirmation] = {}
        # How many of those outstanding have been returned.
        self._returned = 0
        self._unlike: Any = None

    def __len__(self) -> int:
        return len(self._outstanding)

    def publish(self, confirmation: Confirmation, likeness: object = None) -> None:
        """Number the message that is about to be written.

        :param likeness: what a returned copy of it is equal in; None for a
            message that can't be returned.
        """
        self.last_tag += 1
        confirmation.delivery_tag = self.last_tag
        confirmation.likeness = likeness
        self._outstanding[self.last_tag] = confirmation

    def withdraw(self, confirmation: Confirmation) -> None:
        """Take the last number back: not an octet of its message was sent."""
        if confirmation.delivery_tag != self.last_tag:
            raise ValueError(f'delivery tag {confirmation.delivery_tag} is not the last')
        self._outstanding.pop(self.last_tag, None)  # `fail` may have been first
        self.last_tag -= 1

    def withdraw_behind(self, last: int) -> None:
        """Take back what has been numbered since *last* was the last number."""
        while self.last_tag > last:
            self._outstanding.pop(self.last_tag, None)
            self.last_tag -= 1

    def message_returned(self, returned: Any, likeness: object) -> None:
        """Note a returned message.

        Of several outstanding that it is like, it is the oldest: the broker
        returns in the order of publishing. If it is like none, it belongs to
        the confirm that comes next.
        """
        for confirmation in self._outstanding.values():
            if confirmation.returned is None and confirmation.likeness == likeness:
                confirmation.returned = returned
                self._returned += 1
                return
        self._unlike = returned

    def settle(self, delivery_tag: int, multiple: bool, acknowledged: bool) -> list[Confirmation]:
        """Note an ack or nack; the messages it was about.

        An unknown tag settles nothing: a late answer must not confirm
        another message.
        """
        if multiple:
            settled = [self._outstanding.pop(tag) for tag in self._tags_up_to(delivery_tag)]
        else:
            confirmation = self._outstanding.pop(delivery_tag, None)
            settled = [] if confirmation is None else [confirmation]
        if settled and self._unlike is not None:
            if settled[-1].returned is None:
                settled[-1].returned = self._unlike
                self._returned += 1
            self._unlike = None
        if not acknowledged or self._returned:
            self._note_failures(settled, acknowledged)
        for each in settled:  # last of all, for waiters look at nothing else
            each.acknowledged = acknowledged
        return settled

    def _note_failures(self, settled: list[Confirmation], acknowledged: bool) -> None:
        for confirmation in settled:
            if confirmation.returned is not None:
                self._returned -= 1
            elif acknowledged:
                continue
            if not confirmation.told():
                self.remember(confirmation)

    def remember(self, confirmation: Confirmation) -> None:
        """Keep one that has failed for whoever asks."""
        if len(self._failures) < FAILURES_LIMIT:
            self._failures[confirmation.delivery_tag] = confirmation
        else:
            self.unlisted += 1

    def in_question(self) -> list[Confirmation]:
        """The messages that nobody is known to have: untold failures, and those outstanding."""
        return [*self._failures.values(), *self._outstanding.values()]

    def forget(self, failures: Iterable[Confirmation]) -> int:
        """Somebody has been told of these; how many more have failed than were remembered."""
        for confirmation in failures:
            self._failures.pop(confirmation.delivery_tag, None)
        unlisted, self.unlisted = self.unlisted, 0
        return unlisted

    def fail(self, error: BaseException) -> list[Confirmation]:
        """The channel is gone: no confirm can come any more for the messages returned."""
        failed = list(self._outstanding.values())
        self._outstanding.clear()
        self._returned = 0
        for confirmation in failed:
            confirmation.error = error
        return failed

    def _tags_up_to(self, delivery_tag: int) -> list[int]:
        if delivery_tag == 0:  # specification 1.8.3.13: all messages so far
            return list(self._outstanding)
        tags = []
        for tag in self._outstanding:  # in the order of publishing
            if tag > delivery_tag:
                break
            tags.append(tag)
        return tags
