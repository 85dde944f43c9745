"""Which messages nobody has settled yet: neither acknowledged nor rejected."""

from __future__ import annotations

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('Unsettled',)


class Unsettled:
    """Delivery tags of one channel that are unsettled, each with what it came for.

    Not all tags of the channel: those that somebody wants to know of. Thread-safe,
    for each step is one of a dict.
    """

    __slots__ = ('_tags',)

    def __init__(self) -> None:
        self._tags: dict[int, Any] = {}

    def __contains__(self, delivery_tag: int) -> bool:
        return delivery_tag in self._tags

    def add(self, delivery_tag: int, owner: Any) -> None:
        """A message has come for *owner*."""
        self._tags[delivery_tag] = owner

    def watch(self, delivery_tag: int) -> None:
        """Note a tag whose message came before anybody wanted to know."""
        self._tags.setdefault(delivery_tag, None)

    def take(self, delivery_tag: int) -> bool:
        """It is about to be settled; whether it is for the caller to do that.

        False where another call has, or is about to.
        """
        return self._tags.pop(delivery_tag, self) is not self

    def settle(self, delivery_tag: int, multiple: bool) -> dict[int, Any] | None:
        """It is being settled, with *multiple* all up to it, 0 then being all; for `restore`."""
        if not multiple:
            owner = self._tags.pop(delivery_tag, self)
            return None if owner is self else {delivery_tag: owner}
        settled = {}
        for tag in list(self._tags):
            if tag <= delivery_tag or delivery_tag == 0:
                owner = self._tags.pop(tag, self)
                if owner is not self:
                    settled[tag] = owner
        return settled

    def restore(self, settled: dict[int, Any] | None) -> None:
        """What `settle` has returned: that was not sent."""
        if settled is not None:
            self._tags.update(settled)

    def of(self, owner: Any) -> list[int]:
        """The tags that came for *owner*."""
        return [tag for tag, each in list(self._tags.items()) if each is owner]

    def clear(self) -> None:
        """The broker has taken all of them back."""
        self._tags.clear()
