"""Where what comes in on a channel goes: a delivery to its callback, a reply to who awaits it."""

from __future__ import annotations

from .replies import PendingReplies
from .states import StateMachine

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('Inbox',)


class Inbox:
    """The inbox of *channel*, whose *state* tells whether what comes is to be passed on."""

    __slots__ = (
        'auto_decode',
        'callbacks',
        'channel',
        'channel_id',
        'direct',
        'replies',
        'state',
        'streams',
    )

    def __init__(self, channel: Any, channel_id: int, state: StateMachine) -> None:
        self.channel = channel
        self.channel_id = channel_id
        self.state = state
        #: Whether what comes may go straight where it belongs, because nobody
        #: has put something of his own in the way.
        self.direct = False
        #: Whether the bodies of received messages become str where they say how.
        self.auto_decode = False
        #: By consumer tag; None for a consumer that has none.
        self.callbacks: dict[Any, Any] = {}
        #: The replies that the channel awaits.
        self.replies = PendingReplies()
        #: What takes the messages that are iterated over, by consumer tag; a ``Feed`` each.
        self.streams: dict[Any, Any] | None = None
