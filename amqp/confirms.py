"""Publisher confirms: which message an acknowledgement is about.

RabbitMQ numbers the messages published on a channel from 1 after
confirm.select. An acknowledgement names one number, or with ``multiple`` all
numbers up to it, so that several messages may be returned before one that
covers them all: a returned message is known by its content.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any


__all__ = ('Confirmation', 'PublisherConfirms')


class Confirmation:
    """What the broker says of one published message.

    ``acknowledged`` is None until it has spoken, then True or False;
    ``returned`` is what basic.return brought, if it did; ``error`` is set
    instead where the channel is lost first. ``awaited`` says whether the
    publisher waits for it, and so will raise what has to be raised.
    """

    __slots__ = ('acknowledged', 'awaited', 'delivery_tag', 'error', 'likeness', 'returned')

    def __init__(self, delivery_tag: int, awaited: bool, likeness: object) -> None:
        self.delivery_tag = delivery_tag
        self.likeness = likeness
        self.awaited = awaited
        self.acknowledged: bool | None = None
        self.returned: Any = None
        self.error: BaseException | None = None

    def settled(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.acknowledged is not None or self.error is not None


class PublisherConfirms:
    """The messages of one channel that the broker hasn't spoken of yet.

    Not thread-safe: the channel guards it with a lock, and numbers a message
    and writes it under another, so that numbers follow the order on the wire.
    """

    __slots__ = ('_outstanding', '_unlike', 'last_tag')

    def __init__(self) -> None:
        self.last_tag = 0
        self._outstanding: dict[int, Confirmation] = {}
        self._unlike: Any = None

    def __len__(self) -> int:
        return len(self._outstanding)

    def publish(self, awaited: bool = False, likeness: object = None) -> Confirmation:
        """Number the message that is about to be written.

        :param likeness: what a returned copy of it is equal in; None for a
            message that can't be returned.
        """
        self.last_tag += 1
        confirmation: Confirmation = Confirmation(self.last_tag, awaited, likeness)
        self._outstanding[self.last_tag] = confirmation
        return confirmation

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
                return
        self._unlike = returned

    def settle(self, delivery_tag: int, multiple: bool, acknowledged: bool) -> list[Confirmation]:
        """Note an ack or nack; the messages it was about.

        An unknown tag settles nothing: a late answer must not confirm
        another message.
        """
        settled = [self._outstanding.pop(tag) for tag in self._tags(delivery_tag, multiple)]
        if settled and self._unlike is not None:
            settled[-1].returned = settled[-1].returned or self._unlike
            self._unlike = None
        for confirmation in settled:  # last of all, for waiters look at nothing else
            confirmation.acknowledged = acknowledged
        return settled

    def fail(self, error: BaseException) -> list[Confirmation]:
        """The channel is gone: no confirm can come any more for the messages returned."""
        failed = list(self._outstanding.values())
        self._outstanding.clear()
        for confirmation in failed:
            confirmation.error = error
        return failed

    def _tags(self, delivery_tag: int, multiple: bool) -> list[int]:
        if not multiple:
            return [delivery_tag] if delivery_tag in self._outstanding else []
        if delivery_tag == 0:  # specification 1.8.3.13: all messages so far
            return list(self._outstanding)
        tags = []
        for tag in self._outstanding:  # in the order of publishing
            if tag > delivery_tag:
                break
            tags.append(tag)
        return tags
