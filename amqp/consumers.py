"""What is known of a channel's consumers, for a delivery to find its callback."""

from __future__ import annotations

from .states import StateMachine

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('Consumers',)


class Consumers:
    """The consumers of *channel*, whose *state* tells whether a delivery is to be passed on."""

    __slots__ = ('auto_decode', 'callbacks', 'channel', 'channel_id', 'direct', 'state')

    def __init__(self, channel: Any, channel_id: int, state: StateMachine) -> None:
        self.channel = channel
        self.channel_id = channel_id
        self.state = state
        #: Whether a delivery may go straight to its callback, because nobody
        #: has put something of his own in the way.
        self.direct = False
        #: Whether the bodies of received messages become str where they say how.
        self.auto_decode = False
        #: By consumer tag; None for a consumer that has none.
        self.callbacks: dict[Any, Any] = {}
