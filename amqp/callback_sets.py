"""What is to be called upon an event: sets of callbacks, by the name of the event."""

from __future__ import annotations

from collections.abc import Callable

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any, ClassVar

__all__ = ('CallbackSets', 'ChannelCallbacks', 'ConnectionCallbacks')


class CallbackSets(dict[str, 'set[Callable[..., Any]]']):
    """A dict of sets that makes the set of each event when it is asked for.

    Raises KeyError, which tells what events there are, for any other name.
    """

    __slots__ = ()

    #: The events that there are.
    NAMES: ClassVar[frozenset[str]] = frozenset()

    def __missing__(self, name: str) -> set[Callable[..., Any]]:
        if name not in self.NAMES:
            raise KeyError(f'there is no event {name!r}, but: {", ".join(sorted(self.NAMES))}')
        return self.setdefault(name, set())


class ConnectionCallbacks(CallbackSets):
    """Those of `Connection.events`."""

    __slots__ = ()

    NAMES = frozenset(('blocked', 'close', 'unblocked'))


class ChannelCallbacks(CallbackSets):
    """Those of `Channel.events`."""

    __slots__ = ()

    NAMES = frozenset(('basic_ack', 'basic_nack', 'basic_return', 'cancel', 'close', 'flow'))
