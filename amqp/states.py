"""The states of a connection and of a channel, each as one transition table.

A row reads: in this state, upon this event, go to that state. What has no row
cannot happen; where the peer makes it happen, it has broken the grammar of
the specification (1.4.2 for connections, 1.5.2 for channels) and the
connection ends with `UnexpectedFrame`.

Events named ``SEND_...`` are ours, ``RECV_...`` are the peer's; ``LOST`` is
whatever ends a connection without the exchange of close and close-ok.

States and events are the words that messages and diagrams have for them;
``enum`` would take longer to import than most of this package.
"""

from __future__ import annotations

__all__ = (
    'CHANNEL_TRANSITIONS',
    'CONNECTION_TRANSITIONS',
    'ChannelEvent',
    'ChannelState',
    'ConnectionEvent',
    'ConnectionState',
    'IllegalTransition',
    'StateMachine',
)


def _words(names: type) -> list[str]:
    return [word for name, word in vars(names).items() if name.isupper()]


class ConnectionState:
    """Where a connection stands. A connection is used once: CLOSED is final."""

    NEW = 'new'
    AWAITING_START = 'awaiting start'
    AWAITING_TUNE = 'awaiting tune'
    AWAITING_OPEN_OK = 'awaiting open-ok'
    OPEN = 'open'
    CLOSING = 'closing'
    CLOSED = 'closed'


class ConnectionEvent:
    """What moves a connection on."""

    SEND_HEADER = 'send protocol header'
    RECV_START = 'receive start'
    RECV_SECURE = 'receive secure'
    RECV_TUNE = 'receive tune'
    RECV_OPEN_OK = 'receive open-ok'
    SEND_CLOSE = 'send close'
    RECV_CLOSE = 'receive close'
    RECV_CLOSE_OK = 'receive close-ok'
    LOST = 'connection lost'


CONNECTION_TRANSITIONS = {
    (ConnectionState.NEW, ConnectionEvent.SEND_HEADER): ConnectionState.AWAITING_START,
    (ConnectionState.AWAITING_START, ConnectionEvent.RECV_START): ConnectionState.AWAITING_TUNE,
    (ConnectionState.AWAITING_TUNE, ConnectionEvent.RECV_SECURE): ConnectionState.AWAITING_TUNE,
    (ConnectionState.AWAITING_TUNE, ConnectionEvent.RECV_TUNE): ConnectionState.AWAITING_OPEN_OK,
    (ConnectionState.AWAITING_OPEN_OK, ConnectionEvent.RECV_OPEN_OK): ConnectionState.OPEN,
    (ConnectionState.OPEN, ConnectionEvent.SEND_CLOSE): ConnectionState.CLOSING,
    (ConnectionState.CLOSING, ConnectionEvent.RECV_CLOSE_OK): ConnectionState.CLOSED,
    # The peer may refuse us at any step of the handshake (authentication, vhost).
    (ConnectionState.AWAITING_START, ConnectionEvent.RECV_CLOSE): ConnectionState.CLOSED,
    (ConnectionState.AWAITING_TUNE, ConnectionEvent.RECV_CLOSE): ConnectionState.CLOSED,
    (ConnectionState.AWAITING_OPEN_OK, ConnectionEvent.RECV_CLOSE): ConnectionState.CLOSED,
    (ConnectionState.OPEN, ConnectionEvent.RECV_CLOSE): ConnectionState.CLOSED,
    # Both sides may close at once: theirs is answered, ours needs no answer then.
    (ConnectionState.CLOSING, ConnectionEvent.RECV_CLOSE): ConnectionState.CLOSED,
    **{(state, ConnectionEvent.LOST): ConnectionState.CLOSED for state in _words(ConnectionState)},
}


class ChannelState:
    """Where a channel stands.

    REOPENABLE is a channel that the broker closed: the next use of the same
    object opens it again. CLOSED is final.
    """

    NEW = 'new'
    OPENING = 'opening'
    OPEN = 'open'
    CLOSING = 'closing'
    REOPENABLE = 'reopenable'
    CLOSED = 'closed'


class ChannelEvent:
    """What moves a channel on."""

    SEND_OPEN = 'send open'
    RECV_OPEN_OK = 'receive open-ok'
    SEND_CLOSE = 'send close'
    RECV_CLOSE = 'receive close'
    RECV_CLOSE_OK = 'receive close-ok'
    RPC_TIMEOUT = 'reply overdue'
    LOST = 'connection lost'


CHANNEL_TRANSITIONS = {
    (ChannelState.NEW, ChannelEvent.SEND_OPEN): ChannelState.OPENING,
    (ChannelState.OPENING, ChannelEvent.RECV_OPEN_OK): ChannelState.OPEN,
    (ChannelState.OPEN, ChannelEvent.SEND_CLOSE): ChannelState.CLOSING,
    (ChannelState.CLOSING, ChannelEvent.RECV_CLOSE_OK): ChannelState.CLOSED,
    # The broker closes a channel upon an error in it (specification 1.5.2.5).
    (ChannelState.OPENING, ChannelEvent.RECV_CLOSE): ChannelState.REOPENABLE,
    (ChannelState.OPEN, ChannelEvent.RECV_CLOSE): ChannelState.REOPENABLE,
    (ChannelState.REOPENABLE, ChannelEvent.SEND_OPEN): ChannelState.OPENING,
    (ChannelState.REOPENABLE, ChannelEvent.SEND_CLOSE): ChannelState.CLOSED,
    (ChannelState.NEW, ChannelEvent.SEND_CLOSE): ChannelState.CLOSED,
    # Both sides may close at once: theirs ends it, for ours may never be answered.
    (ChannelState.CLOSING, ChannelEvent.RECV_CLOSE): ChannelState.CLOSED,
    # A request whose reply never came leaves the channel under a fresh id.
    (ChannelState.OPENING, ChannelEvent.RPC_TIMEOUT): ChannelState.REOPENABLE,
    (ChannelState.OPEN, ChannelEvent.RPC_TIMEOUT): ChannelState.REOPENABLE,
    **{(state, ChannelEvent.LOST): ChannelState.CLOSED for state in _words(ChannelState)},
}


class IllegalTransition(Exception):
    """An event that the table has no row for."""

    def __init__(self, state: str, event: str) -> None:
        super().__init__(f'{event} is not possible while {state}')
        self.state = state
        self.event = event


class StateMachine:
    """The present state, moved on by events as a transition table says."""

    __slots__ = ('_transitions', 'state')

    def __init__(self, transitions: dict[tuple[str, str], str], start: str) -> None:
        self._transitions = transitions
        self.state = start

    def advance(self, event: str) -> str:
        """Move on and tell the new state; `IllegalTransition` without a row."""
        try:
            self.state = self._transitions[self.state, event]
        except KeyError:
            raise IllegalTransition(self.state, event) from None
        return self.state
